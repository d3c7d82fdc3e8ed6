"use strict";
(() => {
  const thumbnails = JSON.parse(document.getElementById("thumbnails").textContent);
  const tip = document.getElementById("tip");

  // Tables: a button in each heading; the page is complete without.
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        const value = (row) => row.cells[column].textContent;
        const numeric = [...body.rows].every((row) => value(row) === "-" || !Number.isNaN(parseFloat(value(row))));
        const sign = down ? -1 : 1;
        const sorted = [...body.rows].sort((one, other) => {
          const [a, b] = [value(one), value(other)];
          if (a === "-" || b === "-") return (a === "-") - (b === "-");
          return sign * (numeric ? parseFloat(a) - parseFloat(b) : a.localeCompare(b, undefined, { numeric: true }));
        });
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        body.append(...sorted);
      });
    });
  }

  // Maps: what a dot is, with its picture where there is one.
  const REACH = 10, HALF = 4.5; // pixels of the screen, and of the picture
  const told = new Map();
  const textOf = (mark) => {
    if (!told.has(mark)) {
      const title = mark.querySelector("title");
      told.set(mark, title ? title.textContent : "");
      if (title) title.remove(); // the browser's own tip would lie over ours
    }
    return told.get(mark);
  };
  const show = (mark, x, y) => {
    tip.replaceChildren();
    const key = mark.dataset.t, shown = key && document.getElementById(key);
    const source = shown ? shown.src : key && thumbnails[key];
    if (source) {
      const image = document.createElement("img");
      image.src = source;
      image.alt = "";
      tip.append(image);
    }
    tip.append(textOf(mark));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(x + 14, innerWidth - box.width - 8)) + "px";
    tip.style.top = Math.max(8, y + 14 + box.height > innerHeight ? y - box.height - 14 : y + 14) + "px";
  };
  const hide = () => { tip.hidden = true; };
  for (const plot of document.querySelectorAll(".plot")) {
    // The nearest mark within reach of the pointer: a dot of five pixels is hard to hit, and a cross has no inside.
    const picture = plot.querySelector("svg");
    const places = [...picture.querySelectorAll("circle, path")].map((mark) => {
      if (mark.tagName === "circle") return [mark, mark.cx.baseVal.value, mark.cy.baseVal.value];
      const [x, y] = mark.getAttribute("d").match(/[\d.]+/g).map(Number);
      return [mark, x + HALF, y + HALF];
    });
    const nearest = (event) => {
      const box = picture.getBoundingClientRect(), scale = picture.viewBox.baseVal.width / box.width;
      const [left, top] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
      let best = null, least = REACH * scale;
      for (const [mark, x, y] of places) {
        const away = Math.hypot(x - left, y - top) - (mark.tagName === "path" ? HALF : 0); // the rarer ones first
        if (away <= least) [best, least] = [mark, away];
      }
      return best;
    };
    let pointed = null;
    const point = (event) => {
      const mark = nearest(event);
      if (mark === pointed) return;
      pointed = mark;
      if (mark) show(mark, event.clientX, event.clientY);
      else hide();
    };
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerdown", point);
    plot.addEventListener("pointerleave", () => { pointed = null; hide(); });
    const marks = [...plot.querySelectorAll("[data-t]")];
    let at = -1;
    const go = (step) => {
      if (at >= 0) marks[at].classList.remove("on");
      at = (at + step + marks.length) % marks.length;
      marks[at].classList.add("on");
      const box = marks[at].getBoundingClientRect();
      show(marks[at], box.right, box.bottom);
    };
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step && marks.length) { event.preventDefault(); go(step); }
      if (event.key === "Escape") hide();
    });
    plot.addEventListener("blur", () => {
      if (at >= 0) marks[at].classList.remove("on");
      at = -1;
      hide();
    });
  }

  for (const block of document.querySelectorAll(".commands")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", () => {
      const range = document.createRange();
      range.selectNodeContents(block);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      document.execCommand("copy");
      button.textContent = "Copied";
    });
    block.before(button);
  }

  addEventListener("beforeprint", () => {
    for (const run of document.querySelectorAll("details.run")) run.open = true;
  });
})();
