"use strict";
// Points of the vectors' map: drawing round them selects, a click opens one image.
(() => {
  const canvas = document.getElementById("map"), pen = canvas.getContext("2d");
  const form = document.getElementById("colours"), legend = document.getElementById("legend");
  const state = document.getElementById("map-state"), preview = document.getElementById("preview");
  const showSelected = document.getElementById("show-selected"), unselect = document.getElementById("unselect");
  // Okabe and Ito's colours; states of labels have those of the labels elsewhere.
  const COLOURS = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2", "#bbbbbb"];
  const STATES = { positive: "#ffb473", negative: "#4f8fc4", uncertain: "#e5d36b", absent: "#5d6773" };
  const UNKNOWN = "#454d57", EDGE = 16;
  let points = null, tint = [], line = null, selected = new Set(), at = -1;

  const xy = (place) => [EDGE + points.x[place] * (canvas.clientWidth - 2 * EDGE), EDGE + points.y[place] * (canvas.clientHeight - 2 * EDGE)];

  function heat(value) {
    const stops = [[62, 104, 184], [104, 124, 164], [150, 150, 144], [205, 188, 108], [254, 232, 56]];
    const place = Math.min(3.999, Math.max(0, value * 4)), low = Math.floor(place), share = place - low;
    return `rgb(${stops[low].map((c, k) => Math.round(c + (stops[low + 1][k] - c) * share)).join(",")})`;
  }

  function colour() {
    const counts = new Map();
    for (const value of points.values) counts.set(value, (counts.get(value) || 0) + 1);
    legend.replaceChildren();
    const entry = (shade, words) => {
      const item = document.createElement("li"), dot = document.createElement("i");
      dot.style.background = shade;
      item.append(dot, words);
      legend.append(item);
    };
    if (points.by === "score") {
      tint = points.values.map((value) => (value === null ? UNKNOWN : heat(value)));
      for (const value of [0, 0.25, 0.5, 0.75, 1]) entry(heat(value), value.toFixed(2));
      return;
    }
    const names = [...counts.keys()].filter((name) => name !== null).sort((a, b) => counts.get(b) - counts.get(a));
    const shades = new Map(names.map((name, place) => [name, points.by === "finding" ? STATES[name] : COLOURS[Math.min(place, 7)]]));
    for (const name of names) entry(shades.get(name), `${name} (${counts.get(name).toLocaleString("en")})`);
    if (counts.has(null)) entry(UNKNOWN, `unknown (${counts.get(null).toLocaleString("en")})`);
    tint = points.values.map((value) => shades.get(value) || UNKNOWN);
  }

  function draw() {
    if (!points) return;
    const ratio = devicePixelRatio || 1, size = points.x.length > 5000 ? 2 : 4;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    pen.scale(ratio, ratio);
    for (let place = 0; place < points.x.length; place += 1) {
      const [x, y] = xy(place);
      pen.globalAlpha = selected.size && !selected.has(place) ? 0.25 : 0.9;
      pen.fillStyle = tint[place];
      pen.beginPath();
      pen.arc(x, y, selected.has(place) ? size + 1 : size, 0, 6.2832);
      pen.fill();
    }
    pen.globalAlpha = 1;
    if (at >= 0) {
      const [x, y] = xy(at);
      pen.strokeStyle = "#ffffff"; pen.lineWidth = 2;
      pen.beginPath(); pen.arc(x, y, size + 4, 0, 6.2832); pen.stroke();
    }
    if (line) {
      pen.strokeStyle = "#7cc0ff"; pen.lineWidth = 1.5; pen.setLineDash([5, 4]);
      pen.beginPath(); line.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y))); pen.closePath(); pen.stroke();
      pen.fillStyle = "rgba(124,192,255,.12)"; pen.fill(); pen.setLineDash([]);
    }
  }

  function told() {
    const n = selected.size;
    showSelected.disabled = unselect.disabled = !n;
    showSelected.textContent = n ? `Show ${n.toLocaleString("en")} selected` : "Show selected";
    const some = points.x.length < points.total ? `${points.x.length.toLocaleString("en")} of ${points.total.toLocaleString("en")} images, drawn at random` : `${points.x.length.toLocaleString("en")} images`;
    state.textContent = `${some} · ${points.method} · draw round points to select them`;
  }

  function inside(x, y) {
    let odd = false;
    for (let i = 0, j = line.length - 1; i < line.length; j = i, i += 1) {
      const [xi, yi] = line[i], [xj, yj] = line[j];
      if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd;
    }
    return odd;
  }

  function nearest(x, y, most = 12) {
    let best = -1, least = most * most;
    for (let place = 0; place < points.x.length; place += 1) {
      const [px, py] = xy(place), far = (px - x) ** 2 + (py - y) ** 2;
      if (far < least) { least = far; best = place; }
    }
    return best;
  }

  function look(place) {
    at = place;
    preview.hidden = place < 0 || points.ids[place] === null;
    if (!preview.hidden) {
      preview.querySelector("img").src = "/thumbnail?id=" + encodeURIComponent(points.ids[place]);
      preview.querySelector("p").textContent = points.ids[place] + (points.values[place] === null ? "" : " · " + points.values[place]);
    }
    draw();
  }

  async function load() {
    const asked = new URLSearchParams(new FormData(form));
    const answer = await fetch("/map/points?" + asked, { headers: { Accept: "application/json" } });
    if (!answer.ok) { state.textContent = await answer.text(); return; }
    const found = await answer.json();
    if (found.error) { state.textContent = "The map cannot be made: " + found.error; return; }
    if (!found.ready) { setTimeout(load, 700); return; }
    if (points && points.x.length !== found.x.length) selected = new Set();
    points = found;
    colour(); told(); draw();
    canvas.dataset.ready = found.by;
  }

  const where = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  canvas.addEventListener("pointerdown", (event) => { if (points) { line = [where(event)]; canvas.setPointerCapture(event.pointerId); } });
  canvas.addEventListener("pointermove", (event) => {
    if (!points) return;
    if (line) { line.push(where(event)); draw(); }
    else { const place = nearest(...where(event)); if (place !== at && place >= 0) look(place); }
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!line) return;
    const [x, y] = where(event), far = Math.max(...line.map(([a, b]) => Math.abs(a - x) + Math.abs(b - y)));
    if (far < 5) {
      line = null;
      const place = nearest(x, y);
      if (place >= 0 && points.ids[place] !== null) location.assign("/image?id=" + encodeURIComponent(points.ids[place]));
      return;
    }
    if (!event.shiftKey) selected = new Set();
    points.x.forEach((_, place) => { if (inside(...xy(place))) selected.add(place); });
    line = null;
    told(); draw();
  });
  canvas.addEventListener("keydown", (event) => {
    if (!points || !points.x.length) return;
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    if (way) {
      event.preventDefault();
      if (at < 0) { look(0); return; }
      const [x, y] = xy(at);
      let best = -1, least = Infinity;
      for (let place = 0; place < points.x.length; place += 1) {
        const [px, py] = xy(place), along = (px - x) * way[0] + (py - y) * way[1], off = Math.abs((px - x) * way[1] + (py - y) * way[0]);
        if (along > 1 && along + 2 * off < least) { least = along + 2 * off; best = place; }
      }
      if (best >= 0) look(best);
    } else if (event.key === "Enter" && at >= 0 && points.ids[at] !== null) location.assign("/image?id=" + encodeURIComponent(points.ids[at]));
    else if (event.key === " " && at >= 0) { event.preventDefault(); if (!selected.delete(at)) selected.add(at); told(); draw(); }
    else if (event.key === "Escape") { selected = new Set(); told(); draw(); }
  });
  showSelected.addEventListener("click", async () => {
    const answer = await fetch("/selection", { method: "POST", body: JSON.stringify([...selected]), headers: { "Content-Type": "application/json" } });
    if (answer.ok) location.assign((await answer.json()).address);
  });
  unselect.addEventListener("click", () => { selected = new Set(); told(); draw(); });
  form.addEventListener("change", load);
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("resize", draw);
  load();
})();
