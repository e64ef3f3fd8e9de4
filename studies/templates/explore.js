// Shows the image of the grid of draws that belongs to the place of the pointer, or of the arrow keys.
function explore(cells, half) {
  const preview = document.getElementById("preview");
  const place = document.getElementById("place");
  const rings = document.querySelectorAll(".ring");
  const inside = (index) => Math.min(cells - 1, Math.max(0, index));
  const number = (z) => z.toFixed(2).replace("-", "−");
  let column, row;

  function show(newColumn, newRow) {
    column = inside(newColumn);
    row = inside(newRow);
    preview.style.backgroundPosition = `${(100 * column) / (cells - 1)}% ${(100 * row) / (cells - 1)}%`;
    for (const ring of rings) {
      ring.style.left = `${(100 * column) / cells}%`;
      ring.style.top = `${(100 * row) / cells}%`;
    }
    const z1 = ((2 * column + 1) / cells - 1) * half;
    const z2 = (1 - (2 * row + 1) / cells) * half;
    place.textContent = `z = (${number(z1)}, ${number(z2)})`;
  }

  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  for (const plane of document.querySelectorAll(".plane")) {
    const point = (event) => {
      const box = plane.getBoundingClientRect();
      show(
        Math.floor(((event.clientX - box.left) / box.width) * cells),
        Math.floor(((event.clientY - box.top) / box.height) * cells),
      );
    };
    plane.addEventListener("pointerdown", point);
    plane.addEventListener("pointermove", point);
    plane.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      if (step) {
        event.preventDefault(); // which would scroll the page
        show(column + step[0], row + step[1]);
      }
    });
  }
  preview.style.backgroundImage = `url(${document.getElementById("sprite").src})`;
  show(cells / 2, cells / 2);
}
