// The live picture: a canvas, texts over it, a line of status beneath, a button for the full screen.
//
// The parts, from the ground up: picture_placement (where the picture is), picture_axes and
// picture_painting (draw), picture_link (web socket), picture_gestures and picture_keys (input).

import { FITTED, place } from "picture_placement";
import { imageArea, paint } from "picture_painting";
import { Link } from "picture_link";
import { Gestures } from "picture_gestures";
import { chord, readKey } from "picture_keys";

const ERROR_COLOR = "rgb(255, 115, 102)"; // on dark ground
const STRIPE = `color: ${ERROR_COLOR}; background: rgba(26, 13, 13, 0.9); padding: 0.5em 0.8em; border-radius: 0.5em`;
// Text that can be selected, and wraps: a path anywhere.
const TEXT = "white-space: pre-wrap; overflow-wrap: anywhere; user-select: text; cursor: text; pointer-events: auto";
const DARK = { background: "#0f0f12", ink: "#bfbfc7", error: ERROR_COLOR };
const LIGHT = { background: "#ececef", ink: "#3c3c44", error: "#b3261e" };

export default {
  template: `
    <div :style="{ display: 'flex', flexDirection: 'column', background: colors.background, color: colors.ink }">
      <div style="position: relative; flex: 1; min-height: 0">
        <canvas ref="canvas" class="picture-canvas"
          style="position: absolute; inset: 0; width: 100%; height: 100%; touch-action: none;
            image-rendering: pixelated; outline: none; user-select: none"></canvas>
        <div :style="{ fontSize: em + 'px' }" style="position: absolute; inset: 0; padding: 1em; display: flex;
          overflow: auto; line-height: 1.35; text-align: center; pointer-events: none">
          <div style="margin: auto; max-width: min(40em, 100%); ${TEXT}">
            <div v-if="isError" class="picture-error" role="alert" :style="{ color: colors.error }">{{ message }}</div>
            <div class="picture-message" role="status">{{ isError ? "" : message }}</div>
          </div>
        </div>
        <div :style="{ fontSize: em + 'px' }" role="status" style="position: absolute; inset: auto 0 1em; max-height: 100%;
          display: flex; justify-content: center; line-height: 1.35; text-align: center; pointer-events: none">
          <div v-if="notice" class="picture-notice" style="max-width: min(40em, 90%); ${STRIPE}; ${TEXT}">{{ notice }}</div>
        </div>
        <div v-if="!isConnected" class="picture-lost" role="alert"
          style="position: absolute; left: 50%; top: 1em; transform: translateX(-50%); max-width: 90%; ${STRIPE}">The connection is lost; trying again …</div>
        <button v-if="canFill" class="picture-full" type="button" @click="toggleFull"
          :title="isFull ? 'Leave the full screen' : 'Full screen'" :aria-label="isFull ? 'Leave the full screen' : 'Full screen'"
          style="position: absolute; right: 0.4em; top: 0.4em; width: 2em; height: 2em; padding: 0;
            cursor: pointer; border: 0; border-radius: 0.3em; background: rgba(0, 0, 0, 0.5); color: white">
          <svg viewBox="0 0 16 16" width="60%" style="margin: auto; display: block" fill="none" stroke="currentColor"
            stroke-width="1.6"><path :d="isFull ? 'M6 1v5H1M10 1v5h5M6 15v-5H1M10 15v-5h5' : 'M1 6V1h5M15 6V1h-5M1 10v5h5M15 10v5h-5'" /></svg>
        </button>
      </div>
      <div style="position: relative; height: 1.5em">
        <div class="picture-status" style="position: absolute; inset: auto 0 0; max-height: 9em; line-height: 1.5em;
          padding: 0 0.5em; opacity: 0.85; overflow: auto; overflow-wrap: anywhere"
          :style="{ background: colors.background }">{{ statusLine }}</div>
      </div>
    </div>
  `,
  props: {
    socket: String,
    em: Number,
    mode: String,
    status: String,
    takesKeys: Boolean,
    keptKeys: Array,
  },
  data() {
    return {
      isConnected: true, // until the first attempt has failed
      isDark: isDark(),
      isFull: false,
      canFill: Boolean(document.fullscreenEnabled),
      zoomNote: "",
      message: "", // in place of the picture
      isError: false,
      notice: "", // at its lower edge
    };
  },
  computed: {
    colors() {
      return this.isDark ? DARK : LIGHT;
    },
    statusLine() {
      return [this.status, this.zoomNote].filter(Boolean).join(", ");
    },
  },
  watch: {
    isDark() {
      this.draw();
    },
  },
  mounted() {
    // What changes with each frame is not Vue's to watch.
    this.frame = null; // {header, bitmaps} on screen
    this.zoom = FITTED;
    this.density = 1; // pixels of the display for one of the page
    this.resizing = new ResizeObserver(([entry]) => this.resize(entry));
    try {
      this.resizing.observe(this.$refs.canvas, { box: "device-pixel-content-box" });
    } catch {
      this.resizing.observe(this.$refs.canvas); // Safari does not count pixels of the display
    }
    this.theming = new MutationObserver(() => (this.isDark = isDark()));
    this.theming.observe(document.body, { attributeFilter: ["class"] });
    document.addEventListener("fullscreenchange", this.noteFull);
    document.addEventListener("keydown", this.onKey);
    this.gestures = new Gestures(this.pane());
    // NiceGUI knows the prefix of a proxy only after all elements are mounted.
    this.connecting = setTimeout(() => {
      this.link = new Link(this.address(), this.show, (isConnected) => (this.isConnected = isConnected));
    });
  },
  unmounted() {
    clearTimeout(this.connecting);
    this.link?.close();
    this.resizing.disconnect();
    this.theming.disconnect();
    document.removeEventListener("fullscreenchange", this.noteFull);
    document.removeEventListener("keydown", this.onKey);
    for (const bitmap of Object.values(this.frame?.bitmaps ?? {})) bitmap?.close();
    this.frame = null;
  },
  methods: {
    address() {
      const url = new URL((window.path_prefix ?? "") + this.socket, window.location.href);
      url.protocol = url.protocol.replace("http", "ws");
      return url.href;
    },

    // What the gestures see of this element.
    pane() {
      const element = this;
      return {
        canvas: this.$refs.canvas,
        get zoom() { return element.zoom; },
        get em() { return element.em * element.density; },
        get density() { return element.density; },
        get mode() { return element.mode; },
        shown: () => this.shown(),
        report: (event) => this.link?.report(event),
        zoomTo: (zoom) => this.zoomTo(zoom),
      };
    },

    // Size and area of the image on screen; null if there is none.
    shown() {
      const { header, bitmaps } = this.frame ?? {};
      if (!bitmaps?.image || header.overlay.message) return null;
      const area = imageArea(this.$refs.canvas, header, this.em * this.density);
      return { size: header.size, area };
    },

    // Draw a frame that has come, when the browser draws next.
    show({ header, bitmaps }) {
      const before = this.frame?.bitmaps ?? {};
      for (const [name, bitmap] of Object.entries(before)) {
        if (name in bitmaps) bitmap?.close();
      }
      this.frame = { header, bitmaps: { ...before, ...bitmaps } };
      return new Promise((resolve) => {
        requestAnimationFrame(() => {
          ({ message: this.message, isError: this.isError, notice: this.notice } = header.overlay);
          this.draw();
          resolve();
        });
      });
    },

    draw() {
      const { canvas } = this.$refs;
      if (!this.frame || !canvas || canvas.width === 0 || canvas.height === 0) return;
      paint(canvas, this.frame, this.zoom, this.em * this.density, this.colors.ink);
      this.noteZoom();
    },

    zoomTo(zoom) {
      this.zoom = zoom;
      this.draw();
    },

    noteZoom() {
      const shown = this.zoom.scale === null ? null : this.shown();
      if (!shown) {
        this.zoomNote = "";
        return;
      }
      const { scale } = place(shown.size, shown.area, this.zoom);
      this.zoomNote = `enlarged ${+scale.toPrecision(3)} times (Ctrl+0 or double click: the whole picture)`;
    },

    resize(entry) {
      const { canvas } = this.$refs;
      const { width, height } = entry.contentRect;
      const exact = entry.devicePixelContentBoxSize?.[0];
      canvas.width = onDisplay(width, exact?.inlineSize);
      canvas.height = onDisplay(height, exact?.blockSize);
      this.density = width > 0 ? canvas.width / width : 1;
      this.draw();
    },

    onKey(event) {
      const key = readKey(event);
      if (key === null) return;
      if (this.keptKeys.includes(chord(key))) event.preventDefault();
      if (chord(key) === "Ctrl+0") {
        event.preventDefault();
        this.zoomTo(FITTED);
      }
      if (this.takesKeys) this.link?.report(key);
    },

    toggleFull() {
      if (document.fullscreenElement) document.exitFullscreen();
      else this.$el.requestFullscreen();
    },

    noteFull() {
      this.isFull = document.fullscreenElement === this.$el;
    },
  },
};

// A length in pixels of the display: what the browser counts, unless developer tools emulate a
// display, which the browser does not count.
function onDisplay(length, counted) {
  const computed = Math.round(length * window.devicePixelRatio);
  return Math.abs(counted - computed) <= 1 ? counted : computed;
}

function isDark() {
  return document.body.classList.contains("body--dark");
}
