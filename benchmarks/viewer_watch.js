// Runs in the page of the viewer before all else: notes when input comes, and when the canvas has
// a new picture. Times are in ms, on the clock of events. Nothing here grows.
(() => {
  const exactness = new WeakMap(); // of bitmaps that were not drawn yet
  const watch = (window.viewerWatch = {
    count: 0, // pictures on the canvas so far
    movingCount: 0, // those with loss among them; the others show the same once more, exactly
    lastMs: 0, // when the last one came
    isExact: false, // whether it was exact
    // Expect input; `answered` then becomes the time from the input to the next picture.
    expect() {
      this.inputMs = null;
      this.isExpecting = true;
      this.answered = new Promise((resolve) => (this.answer = resolve));
    },
    // A few pixels of the canvas, as a text.
    pixels() {
      const small = Object.assign(document.createElement("canvas"), { width: 32, height: 32 });
      const context = small.getContext("2d");
      context.drawImage(document.querySelector(".picture-canvas"), 0, 0, 32, 32);
      return context.getImageData(0, 0, 32, 32).data.join();
    },
  });

  const decode = window.createImageBitmap;
  window.createImageBitmap = async (file, ...options) => {
    const bitmap = await decode(file, ...options);
    exactness.set(bitmap, file.type === "image/png");
    return bitmap;
  };

  const { prototype } = CanvasRenderingContext2D;
  const draw = prototype.drawImage;
  prototype.drawImage = function (bitmap, ...place) {
    draw.call(this, bitmap, ...place);
    if (!exactness.has(bitmap)) return;
    watch.isExact = exactness.get(bitmap);
    exactness.delete(bitmap);
    watch.lastMs = performance.now();
    watch.count++;
    if (!watch.isExact) watch.movingCount++;
    if (watch.isExpecting && watch.inputMs !== null) {
      watch.isExpecting = false;
      watch.answer(watch.lastMs - watch.inputMs);
    }
  };

  for (const name of ["pointermove", "mousedown"]) {
    addEventListener(name, (event) => (watch.inputMs ??= event.timeStamp), { capture: true });
  }
})();
