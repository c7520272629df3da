"use strict";
// One radiograph: drag changes window (sideways) and level (up and down), as at a
// reading station; the wheel zooms where the pointer is.
(() => {
  const canvas = document.getElementById("picture");
  const pen = canvas.getContext("2d");
  const told = document.getElementById("window");
  const plain = { window: 255, level: 128, inverted: false, zoom: 1, x: 0, y: 0 };
  let look = { ...plain }, grey = null, wide = 0, high = 0, buffer = null, waiting = false;

  function tables() {
    // window and level: the values from level - window/2 to level + window/2 fill the screen.
    const table = new Uint8ClampedArray(256), low = look.level - look.window / 2;
    for (let value = 0; value < 256; value += 1) {
      const seen = ((value - low) / Math.max(1, look.window)) * 255;
      table[value] = look.inverted ? 255 - Math.max(0, Math.min(255, seen)) : seen;
    }
    return table;
  }

  function repaint() {
    const table = tables(), image = buffer.getContext("2d").createImageData(wide, high);
    const words = new Uint32Array(image.data.buffer);
    for (let at = 0; at < grey.length; at += 1) {
      const seen = table[grey[at]];
      words[at] = 0xff000000 | (seen << 16) | (seen << 8) | seen;
    }
    buffer.getContext("2d").putImageData(image, 0, 0);
  }

  function draw() {
    waiting = false;
    const ratio = devicePixelRatio || 1, box = canvas.getBoundingClientRect();
    canvas.width = Math.round(box.width * ratio);
    canvas.height = Math.round(box.height * ratio);
    const fit = Math.min(canvas.width / wide, canvas.height / high) * look.zoom;
    pen.imageSmoothingEnabled = fit < 3;
    pen.imageSmoothingQuality = "high";
    const left = (canvas.width - wide * fit) / 2 + look.x * ratio, top = (canvas.height - high * fit) / 2 + look.y * ratio;
    pen.drawImage(buffer, left, top, wide * fit, high * fit);
    told.textContent = `window ${Math.round(look.window)}, level ${Math.round(look.level)}${look.inverted ? ", inverted" : ""}${look.zoom === 1 ? "" : `, zoom ${look.zoom.toFixed(1)}`}`;
    canvas.dataset.ready = "1";
  }

  function show(changes, values = true) {
    Object.assign(look, changes);
    look.window = Math.max(1, Math.min(510, look.window));
    look.level = Math.max(-128, Math.min(383, look.level));
    look.zoom = Math.max(0.5, Math.min(20, look.zoom));
    document.getElementById("invert").setAttribute("aria-pressed", look.inverted);
    if (!grey) return;
    if (values) repaint();
    if (!waiting) { waiting = true; requestAnimationFrame(draw); }
  }

  function zoom(factor, at) {
    const before = look.zoom, after = Math.max(0.5, Math.min(20, before * factor));
    const box = canvas.getBoundingClientRect();
    const dx = at ? at.x - box.left - box.width / 2 : 0, dy = at ? at.y - box.top - box.height / 2 : 0;
    const grown = after / before;
    show({ zoom: after, x: dx - (dx - look.x) * grown, y: dy - (dy - look.y) * grown }, false);
  }

  const source = new Image();
  source.addEventListener("load", () => {
    wide = source.naturalWidth; high = source.naturalHeight;
    buffer = document.createElement("canvas");
    buffer.width = wide; buffer.height = high;
    const reading = buffer.getContext("2d", { willReadFrequently: true });
    reading.drawImage(source, 0, 0);
    const pixels = reading.getImageData(0, 0, wide, high).data;
    grey = new Uint8Array(wide * high);
    for (let at = 0; at < grey.length; at += 1) grey[at] = pixels[4 * at];
    show({});
  });
  source.addEventListener("error", async () => {
    const answer = await fetch(canvas.dataset.source);
    const line = document.getElementById("trouble");
    line.textContent = "This image cannot be shown: " + (await answer.text());
    line.hidden = false;
    canvas.hidden = true;
  });
  source.src = canvas.dataset.source;

  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    held = { ...look, x: event.clientX, y: event.clientY, moves: event.shiftKey || event.button === 1, px: look.x, py: look.y };
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    const dx = event.clientX - held.x, dy = event.clientY - held.y;
    if (held.moves) show({ x: held.px + dx, y: held.py + dy }, false);
    else show({ window: held.window + dx * 0.75, level: held.level - dy * 0.75 });
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { held = null; });
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, { x: event.clientX, y: event.clientY }); }, { passive: false });
  const actions = { invert: () => show({ inverted: !look.inverted }), larger: () => zoom(1.25), smaller: () => zoom(0.8), reset: () => show({ ...plain }) };
  for (const [name, action] of Object.entries(actions)) document.getElementById(name).addEventListener("click", action);
  addEventListener("resize", () => show({}, false));
  addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") { if (history.length > 1) history.back(); else location.assign("/images"); return; }
    const action = { i: actions.invert, "+": actions.larger, "=": actions.larger, "-": actions.smaller, 0: actions.reset }[event.key];
    if (action) { action(); return; }
    if (event.target !== canvas) return;
    const step = { ArrowRight: { window: 8 }, ArrowLeft: { window: -8 }, ArrowUp: { level: 8 }, ArrowDown: { level: -8 } }[event.key];
    if (step) {
      event.preventDefault();
      for (const [name, change] of Object.entries(step)) show({ [name]: look[name] + change });
    }
  });
})();
