"use strict";
// Tiles that are seen, and a few rows around them; of a million images the page holds
// a hundred. Arrows move, Enter opens, Escape leaves.
(() => {
  const grid = document.getElementById("grid");
  if (!grid) return;
  const total = Number(grid.dataset.total || grid.children.length);
  const query = grid.dataset.query || "";
  const part = Number(grid.dataset.part || 0);
  const WIDTH = 188, HEIGHT = 250, GAP = 10, AROUND = 2;
  const shown = new Map();     // place -> element
  const parts = new Map();     // number of a part -> tiles, or a promise of them
  const model = grid.querySelector(".tile");
  const moving = part > 0 && total > grid.children.length;
  let columns = 1, wide = WIDTH, focused = Number(sessionStorage.getItem("place " + location.search) || 0);

  function measure() {
    columns = Math.max(1, Math.floor((grid.clientWidth + GAP) / (WIDTH + GAP)));
    wide = (grid.clientWidth - GAP * (columns - 1)) / columns;
    if (moving) grid.style.height = Math.ceil(total / columns) * (HEIGHT + GAP) + "px";
  }

  function filled(tile, one) {
    tile.href = "/image?id=" + encodeURIComponent(one.image_id);
    tile.dataset.id = one.image_id;
    tile.title = one.image_id;
    const picture = tile.querySelector("img");
    picture.src = "/thumbnail?id=" + encodeURIComponent(one.image_id);
    picture.hidden = false;
    const age = one.age === null ? null : Math.round(one.age) + " y";
    const facts = tile.querySelector(".facts");
    facts.textContent = [one.view, one.sex, age, one.split].filter(Boolean).join(" · ");
    if (one.similarity !== undefined && one.similarity !== null) {
      const bold = document.createElement("b");
      bold.textContent = one.similarity.toFixed(3);
      facts.prepend(bold, " · ");
    }
    tile.querySelector(".name bdi").textContent = one.image_id;
    tile.querySelector(".positive").textContent = one.positive.join(", ") || "no positive label";
  }

  function blank() {
    const tile = model.cloneNode(true);
    tile.removeAttribute("href");
    for (const span of tile.querySelectorAll("span")) if (!span.className.includes("name")) span.textContent = "";
    tile.querySelector(".name").replaceChildren(document.createElement("bdi"));
    tile.querySelector("img").removeAttribute("src");
    tile.title = "";
    return tile;
  }

  async function loaded(number) {
    if (!parts.has(number)) {
      parts.set(number, fetch(`/tiles?${query}&start=${number * part}&count=${part}`, { headers: { Accept: "application/json" } })
        .then((answer) => (answer.ok ? answer.json() : { tiles: [] })).then((found) => found.tiles));
      if (parts.size > 40) parts.delete(parts.keys().next().value);
    }
    return parts.get(number);
  }

  function place(tile, at) {
    const left = (at % columns) * (wide + GAP), top = Math.floor(at / columns) * (HEIGHT + GAP);
    tile.style.width = wide + "px";
    tile.style.transform = `translate(${left}px, ${top}px)`;
    tile.tabIndex = at === focused ? 0 : -1;
  }

  function draw() {
    if (!moving) return;
    const top = -grid.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / (HEIGHT + GAP)) - AROUND) * columns;
    const rows = Math.ceil(innerHeight / (HEIGHT + GAP)) + 2 * AROUND + 1;
    const last = Math.min(total, first + rows * columns);
    for (const [at, tile] of shown) {
      if ((at < first || at >= last) && tile !== document.activeElement) { tile.remove(); shown.delete(at); }
    }
    for (let at = first; at < last; at += 1) {
      let tile = shown.get(at);
      if (!tile) {
        tile = blank();
        tile.dataset.place = at;
        shown.set(at, tile);
        grid.append(tile);
        const mine = tile, which = at;
        loaded(Math.floor(at / part)).then((tiles) => {
          const one = tiles[which % part];
          if (one && shown.get(which) === mine) filled(mine, one);
        });
      }
      place(tile, at);
    }
  }

  function reach(at, focus = true) {
    focused = Math.max(0, Math.min(total - 1, at));
    sessionStorage.setItem("place " + location.search, focused);
    if (moving) {
      const rect = grid.getBoundingClientRect();
      const top = rect.top + scrollY + Math.floor(focused / columns) * (HEIGHT + GAP);
      const head = document.querySelector("header").offsetHeight;
      if (top < scrollY + head) scrollTo(0, top - head - GAP);
      else if (top + HEIGHT > scrollY + innerHeight) scrollTo(0, top + HEIGHT + GAP - innerHeight);
      draw();
    } else {
      [...grid.children].forEach((tile, at2) => { tile.tabIndex = at2 === focused ? 0 : -1; });
    }
    const tile = moving ? shown.get(focused) : grid.children[focused];
    if (tile && focus) tile.focus({ preventScroll: moving });
  }

  addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea");
    if (event.key === "Escape") {
      if (typing) document.activeElement.blur();
      else if (location.search) location.assign(location.pathname);
      return;
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !total) return;
    const page = Math.max(1, Math.floor(innerHeight / (HEIGHT + GAP))) * columns;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, PageDown: page, PageUp: -page }[event.key];
    const inGrid = document.activeElement.closest && document.activeElement.closest("#grid");
    if (step !== undefined) { event.preventDefault(); reach(inGrid ? focused + step : focused); }
    else if (event.key === "Home" && inGrid) { event.preventDefault(); reach(0); }
    else if (event.key === "End" && inGrid) { event.preventDefault(); reach(total - 1); }
  });
  grid.addEventListener("focusin", (event) => {
    const tile = event.target.closest(".tile");
    if (!tile) return;
    focused = moving ? Number(tile.dataset.place) : [...grid.children].indexOf(tile);
    sessionStorage.setItem("place " + location.search, focused);
  });
  document.addEventListener("error", (event) => { if (event.target.tagName === "IMG") event.target.classList.add("gone"); }, true);
  const filters = document.getElementById("filters");
  filters.addEventListener("submit", () => { for (const field of filters.elements) if (field.name && field.value === "") field.disabled = true; });
  addEventListener("pageshow", () => { for (const field of filters.elements) field.disabled = false; });

  measure();
  if (moving) {
    const first = [...grid.children];
    grid.classList.add("moving");
    first.forEach((tile, at) => { tile.dataset.place = at; shown.set(at, tile); });
    const start = new URLSearchParams(location.search).get("start");
    if (start) { for (const tile of first) tile.remove(); shown.clear(); }
    let waiting = false;
    const soon = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; draw(); }); } };
    addEventListener("scroll", soon, { passive: true });
    addEventListener("resize", () => { measure(); draw(); });
    draw();
  } else addEventListener("resize", measure);
  if (focused) reach(focused, false);
  else if (grid.children.length) (moving ? shown.get(0) || grid.children[0] : grid.children[0]).tabIndex = 0;
})();
