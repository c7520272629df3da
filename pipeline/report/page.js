"use strict";
/* Sorts tables by a click on a head, and opens what is closed before it is printed. */
(function () {
  function value(row, column) {
    var cell = row.children[column];
    var given = cell.getAttribute("data-v");
    return given === null ? cell.textContent.trim().toLowerCase() : parseFloat(given);
  }
  function before(a, b) {
    var noA = a !== a, noB = b !== b;
    if (noA || noB) { return noA === noB ? 0 : noA ? 1 : -1; }
    return a < b ? -1 : a > b ? 1 : 0;
  }
  function sort(button) {
    var head = button.closest("th");
    var column = Array.prototype.indexOf.call(head.parentNode.children, head);
    var down = head.getAttribute("aria-sort") === "ascending";
    head.parentNode.querySelectorAll("th").forEach(function (one) {
      one.removeAttribute("aria-sort");
    });
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    var body = head.closest("table").tBodies[0];
    var rows = Array.prototype.slice.call(body.rows);
    rows.sort(function (one, other) {
      var a = value(one, column), b = value(other, column);
      return down && a === a && b === b ? before(b, a) : before(a, b);
    });
    rows.forEach(function (row) { body.appendChild(row); });
  }
  document.querySelectorAll("table.sortable thead th[data-sort]").forEach(function (head) {
    var button = document.createElement("button");
    button.type = "button";
    while (head.firstChild) { button.appendChild(head.firstChild); }
    head.appendChild(button);
    button.addEventListener("click", function () { sort(button); });
  });
  var closed = [];
  window.addEventListener("beforeprint", function () {
    closed = Array.prototype.slice.call(document.querySelectorAll("details:not([open])"));
    closed.forEach(function (one) { one.open = true; });
  });
  window.addEventListener("afterprint", function () {
    closed.forEach(function (one) { one.open = false; });
  });
  function opened() {
    var target = location.hash && document.getElementById(location.hash.slice(1));
    if (!target) { return; }
    target.querySelectorAll(":scope > details").forEach(function (one) { one.open = true; });
    target.scrollIntoView();
  }
  window.addEventListener("hashchange", opened);
  opened();
})();
