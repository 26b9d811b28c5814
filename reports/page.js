"use strict";
{
  const data = JSON.parse(document.getElementById("data").textContent);
  const plots = []; // of uPlot, with the runs of their series

  // Runs have ticks at different places: show the nearest value, unless the run has ended before.
  function nearest(plot, series, idx) {
    const values = plot.data[series];
    if (series === 0 || values[idx] != null) return idx;
    let [left, right] = [idx, idx];
    while (left >= 0 && values[left] == null) left--;
    while (right < values.length && values[right] == null) right++;
    if (left < 0 || right === values.length) return idx;
    return idx - left <= right - idx ? left : right;
  }

  function draw(place, chart) {
    const style = getComputedStyle(document.documentElement);
    const [text, line, card] = ["--dim", "--line", "--card"].map((name) => style.getPropertyValue(name).trim());
    const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const short = (value) => (value == null ? "" : String(+value.toPrecision(5)));
    const series = chart.curves.map((curve) => ({
      label: [data.labels[curve.run], curve.name].filter(Boolean).join(" "),
      stroke: data.colours[curve.run],
      width: 1.6,
      dash: curve.is_dashed ? [6, 5] : undefined,
      points: { show: curve.x.length < 40, size: 5, fill: card },
      value: (_, value) => short(value),
    }));
    const options = {
      width: place.clientWidth,
      height: 210,
      scales: { x: { time: false } },
      series: [{ label: "kimg", value: (_, value) => short(value) }, ...series],
      axes: [{ ...axis, size: 30 }, { ...axis, size: 56, values: (_, ticks) => ticks.map(short) }],
      cursor: {
        y: false,
        dataIdx: nearest,
        points: { size: 8, fill: (_, i) => series[i - 1].stroke, stroke: card },
        sync: { key: "kimg" },
      },
    };
    const points = chart.curves.length ? uPlot.join(chart.curves.map((curve) => [curve.x, curve.y])) : [[]];
    plots.push({ plot: new uPlot(options, points, place), runs: chart.curves.map((curve) => curve.run), place });
  }

  function drawGroup(group) {
    for (const chart of data.charts[group.dataset.group]) {
      const card = document.createElement("div");
      const [title, about, place] = ["b", "small", "div"].map((name) => card.appendChild(document.createElement(name)));
      card.className = "chart";
      title.textContent = chart.title;
      about.textContent = chart.about;
      group.append(card);
      draw(place, chart);
    }
    showRuns();
  }

  function showRuns() {
    for (const box of document.querySelectorAll("#runs input")) {
      for (const { plot, runs } of plots) {
        runs.forEach((run, i) => {
          if (run === Number(box.dataset.run)) plot.setSeries(i + 1, { show: box.checked });
        });
      }
    }
  }

  // Charts in a closed fold are drawn when it opens.
  function drawVisible() {
    for (const group of document.querySelectorAll(".charts")) {
      if (!group.hasChildNodes() && !group.closest("details:not([open])")) drawGroup(group);
    }
  }

  function resize() {
    for (const { plot, place } of plots) {
      if (place.clientWidth) plot.setSize({ width: place.clientWidth, height: 210 });
    }
  }

  function redraw() {
    for (const { plot } of plots.splice(0)) plot.destroy();
    for (const group of document.querySelectorAll(".charts")) group.replaceChildren();
    drawVisible();
  }

  const images = (gallery) => [...gallery.querySelectorAll(".fakes img")];

  function show(gallery, idx) {
    images(gallery).forEach((image, i) => (image.hidden = i !== idx));
    gallery.querySelector("output").textContent = images(gallery)[idx].dataset.label;
    gallery.querySelector("input").value = idx;
  }

  function slide(gallery, idx) {
    show(gallery, idx);
    if (!document.getElementById("together")?.checked) return;
    const kimg = images(gallery)[idx].dataset.kimg;
    for (const other of document.querySelectorAll(".gallery")) {
      const times = images(other).map((image) => Math.abs(image.dataset.kimg - kimg));
      if (other !== gallery && times.length) show(other, idx === 0 ? 0 : times.lastIndexOf(Math.min(...times)));
    }
  }

  document.querySelectorAll("#runs input").forEach((box) => box.addEventListener("change", showRuns));
  document.querySelectorAll("details").forEach((fold) => fold.addEventListener("toggle", drawVisible));
  document.querySelectorAll("figure").forEach((figure) =>
    figure.addEventListener("click", () => figure.classList.toggle("whole")));
  for (const gallery of document.querySelectorAll(".gallery")) {
    const slider = gallery.querySelector("input");
    slider?.addEventListener("input", () => slide(gallery, Number(slider.value)));
  }
  addEventListener("resize", resize);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  drawVisible();
}
