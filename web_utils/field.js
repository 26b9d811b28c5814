// A line of text or a number. It shows the text of the server, except while the user types.
export default {
  template: `
    <input :value="typed ?? text" @focus="$el.select()" @input="type" @blur="leave"
      @keydown.enter="enter" @keydown.esc="typed = null" @keydown.up="step($event, 1)" @keydown.down="step($event, -1)" />`,
  emits: ["type", "enter", "step"],
  props: {
    text: String,
    isNumber: Boolean, // numbers count when they are entered, texts with each key
  },
  data: () => ({ typed: null }),
  watch: {
    text() {
      // A number that was entered is selected again, for the next one.
      if (this.isNumber && this.typed === null && document.activeElement === this.$el) this.$nextTick(() => this.$el.select());
    },
  },
  methods: {
    type(event) {
      this.typed = event.target.value;
      if (!this.isNumber) this.$emit("type", this.typed);
    },
    enter() {
      if (!this.isNumber || this.typed !== null) this.$emit("enter", this.typed ?? this.text);
      this.typed = null;
    },
    leave() {
      if (this.isNumber) this.enter();
      this.typed = null;
    },
    step(event, count) {
      if (!this.isNumber) return;
      event.preventDefault();
      this.enter();
      this.$emit("step", count);
    },
  },
};
