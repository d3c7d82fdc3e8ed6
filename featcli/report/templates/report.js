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
    const markOf = (event) => event.target.closest("circle, path");
    plot.addEventListener("pointerover", (event) => {
      const mark = markOf(event);
      if (mark) show(mark, event.clientX, event.clientY);
    });
    plot.addEventListener("pointerout", hide);
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
