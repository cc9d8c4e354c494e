"use strict";
(() => {
  const root = document.documentElement;
  const find = (selector) => [...document.querySelectorAll(selector)];

  // Pictures: a button each, so that Enter and Space work as a click does.
  const reveal = (button, shown) => {
    button.setAttribute("aria-pressed", String(shown));
    button.querySelector(".veil").textContent = shown ? "" : "show";
  };
  const pictures = find("button.picture");
  for (const button of pictures) {
    button.disabled = false;
    button.addEventListener("click", () => {
      reveal(button, button.getAttribute("aria-pressed") !== "true");
    });
  }

  // Light and dark: what the system says, until somebody chooses.
  const theme = document.getElementById("theme");
  const isDark = () => root.dataset.theme
    ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => { theme.textContent = isDark() ? "Light page" : "Dark page"; };
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    name();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();

  // The cursor: one clip, in every plot.
  const { sides, names, signs, starts, ends } = JSON.parse(document.getElementById("clips").textContent);
  const slider = document.getElementById("cursor");
  const readout = document.getElementById("readout");
  const end = ends[ends.length - 1];
  const element = (tag, text, className) => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const describe = (clip) => `${clip.action}${clip.label ? `, ${clip.label}` : ""}`;
  const show = (index) => {
    const middle = (100 * (starts[index] + ends[index])) / 2 / end;
    for (const line of find(".cursor")) {
      line.style.left = `${middle}%`;
      line.hidden = false;
    }
    const first = sides[0][index];
    slider.value = index;
    slider.setAttribute("aria-valuetext", `${first.clock}, clip ${first.clip}: `
      + sides.map((clips, side) => `${names[side]} ${describe(clips[index])}`).join("; "));
    readout.replaceChildren(...sides.map((clips, side) => {
      const clip = clips[index];
      const row = element("div", "", "reading");
      row.append(
        element("b", `${names[side] ? `${names[side]} · ` : ""}${clip.clock} · clip ${clip.clip}`),
        element("span", `${signs[clip.action]} ${clip.action}`, `badge ${clip.action}`),
        ...clip.top.map(([label, score, action]) =>
          element("span", `${label} ${score}${action === "allow" ? "" : ` (${action})`}`)),
        element("span", clip.ms, "soft"),
        element("span", clip.unseen ? "not fully seen" : "", "soft"),
      );
      return row;
    }));
  };
  slider.disabled = false;
  slider.addEventListener("input", () => show(Number(slider.value)));
  for (const plot of find(".time")) {
    plot.addEventListener("click", (event) => {
      const box = plot.getBoundingClientRect();
      const at = ((event.clientX - box.left) / box.width) * end;
      const index = ends.findIndex((stop) => at < stop);
      show(index < 0 ? ends.length - 1 : index);
    });
  }
  for (const link of find("[data-clip]")) {
    link.addEventListener("click", () => show(Number(link.dataset.clip)));
  }
  show(Number(slider.value));
})();
