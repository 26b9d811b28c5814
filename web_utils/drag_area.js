// What is inside can be pressed and dragged; a number that is pressed and not dragged can be typed.
const MIN_PIXELS = 3;
const INTERVAL_MS = 33;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export default {
  template: `
    <div @pointerdown="press" @pointermove="move" @pointerup="release" @pointercancel="release"
      @mousedown="keepFocus" @dragstart.prevent @keydown="arrow">
      <slot></slot>
    </div>`,
  emits: ["move"],
  props: {
    inPixels: Boolean, // otherwise in ems
    isDisabled: Boolean,
    hasArrows: Boolean,
  },
  created() {
    this.last = null; // where the pressed pointer was
    this.isHeld = false;
    this.unsent = [0, 0];
    this.timer = null;
  },
  unmounted() {
    clearTimeout(this.timer);
  },
  methods: {
    press(event) {
      // In a field that has the focus, dragging selects text.
      const isEdited = document.activeElement?.tagName === "INPUT" && this.$el.contains(document.activeElement);
      if (event.button !== 0 || this.isDisabled || isEdited) return;
      this.last = [event.clientX, event.clientY];
      this.$el.setPointerCapture(event.pointerId);
    },
    move(event) {
      if (this.last === null) return;
      const [dx, dy] = [event.clientX - this.last[0], event.clientY - this.last[1]];
      if (!this.isHeld && Math.hypot(dx, dy) < MIN_PIXELS) return;
      this.isHeld = true;
      const unit = this.inPixels ? 1 : parseFloat(getComputedStyle(this.$el).fontSize);
      this.unsent = [this.unsent[0] + dx / unit, this.unsent[1] + dy / unit];
      this.last = [event.clientX, event.clientY];
      if (this.timer === null) this.send();
    },
    // A number gets the focus, and its text is selected, only if it was not dragged.
    keepFocus(event) {
      if (this.inPixels && this.last !== null) event.preventDefault();
    },
    release() {
      if (this.inPixels && this.last !== null && !this.isHeld) this.$el.querySelector("input")?.focus();
      this.last = null;
      this.isHeld = false;
      clearTimeout(this.timer);
      this.timer = null;
      this.flush();
    },
    // Movements between two messages add up.
    send() {
      this.timer = this.flush() ? setTimeout(() => this.send(), INTERVAL_MS) : null;
    },
    flush() {
      const [dx, dy] = this.unsent;
      if (dx === 0 && dy === 0) return false;
      this.unsent = [0, 0];
      this.$emit("move", dx, dy);
      return true;
    },
    arrow(event) {
      if (!this.hasArrows || this.isDisabled || !(event.key in ARROWS)) return;
      event.preventDefault();
      this.$emit("move", ...ARROWS[event.key]);
    },
  },
};
