// The web socket of a picture: frames come, answers and events go.
//
// A frame is a text message with its header, and then binary messages with the pieces of its files.
// The answers are {frame, step}, see web_utils/frames.py.

const FIRST_PAUSE_MS = 250;
const LAST_PAUSE_MS = 5000;
const SILENCE_MS = 12000; // the server sends a sign of life three times as often
const MAX_UNTAKEN = 2; // messages with events that the server has not taken yet

export class Link {
  // `show` draws a frame {header, bitmaps}, where null stands for a bitmap that is gone, and
  // returns a promise; `say` is told whether the connection stands.
  constructor(url, show, say) {
    Object.assign(this, { url, show, say, events: [], isClosed: false, pauseMs: FIRST_PAUSE_MS });
    this.connect();
  }

  connect() {
    this.numUntaken = 0;
    this.frame = null; // its files are still to come
    this.shown = Promise.resolve(); // frames are drawn one after another
    this.socket = new WebSocket(this.url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      this.say(true);
      this.watch();
    };
    this.socket.onmessage = ({ data }) => this.receive(data);
    this.socket.onclose = () => this.retry();
  }

  // Give the connection up if nothing arrives: a computer that slept is not told that it is lost.
  watch() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.retry(), SILENCE_MS);
  }

  retry() {
    if (this.isClosed) return;
    this.leave();
    this.events = []; // the server releases the button itself
    this.say(false);
    this.timer = setTimeout(() => this.connect(), this.pauseMs);
    this.pauseMs = Math.min(this.pauseMs * 2, LAST_PAUSE_MS);
  }

  close() {
    this.isClosed = true;
    this.leave();
  }

  leave() {
    clearTimeout(this.timer);
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
  }

  receive(data) {
    this.pauseMs = FIRST_PAUSE_MS; // the server is well
    this.watch();
    if (typeof data === "string") {
      const message = JSON.parse(data);
      if (message.taken) {
        this.numUntaken--;
        this.flush();
      }
      if (!message.number) return;
      this.frame = { header: message, pieces: [] }; // one that is not complete is given up
      this.answer(message, "begun");
    } else {
      this.frame.pieces.push(data);
      this.answer(this.frame.header, "got");
    }
    const { header, pieces } = this.frame;
    const count = header.files.reduce((sum, { numPieces }) => sum + numPieces, 0);
    if (pieces.length === count) this.finish(header, pieces);
  }

  finish(header, pieces) {
    const socket = this.socket;
    this.shown = this.shown.then(async () => {
      const bitmaps = await decoded(header, pieces);
      if (socket !== this.socket || this.isClosed) {
        for (const bitmap of Object.values(bitmaps)) bitmap?.close();
        return;
      }
      await this.show({ header, bitmaps });
      this.answer(header, "drawn");
    }).catch((error) => {
      console.error("a frame was not drawn", error);
      if (socket === this.socket) this.retry(); // the server begins anew
    });
  }

  answer(header, step) {
    this.send({ frame: header.number, step });
  }

  // Report an event, a list of its kind and its attributes. Movements wait for the next animation
  // frame, and join others while the server is busy; presses, releases and keys stay as they are.
  report(event) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    const joined = merged(this.events.at(-1), event);
    if (joined) this.events.pop();
    this.events.push(joined ?? event);
    if (isMove(event)) requestAnimationFrame(() => this.flush());
    else this.flush();
  }

  flush() {
    if (this.events.length === 0 || this.numUntaken >= MAX_UNTAKEN) return;
    this.send({ events: this.events.splice(0, 256) });
    this.numUntaken++;
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}

// Two movements as one, or null if the events must stay two.
function merged(last, next) {
  if (last === undefined || last[0] !== next[0]) return null;
  if (next[0] === "drag") return ["drag", last[1] + next[1], last[2] + next[2]];
  return isMove(last) && isMove(next) ? next : null;
}

// Whether an event is a movement, not a press or a release or a key.
function isMove([kind, , , , isPressed, isHeld]) {
  return kind === "drag" || (kind === "pointer" && !isPressed && isHeld);
}

// Bitmaps by name: new ones, and null for those that are gone.
async function decoded(header, pieces) {
  const bitmaps = {};
  for (const name of ["image", "target", "mask"]) {
    if (!header.has.includes(name)) bitmaps[name] = null;
  }
  let start = 0;
  const decoding = header.files.map(async ({ name, type, numPieces }) => {
    const file = new Blob(pieces.slice(start, (start += numPieces)), { type });
    bitmaps[name] = await createImageBitmap(file, { colorSpaceConversion: "none" });
  });
  await Promise.all(decoding);
  return bitmaps;
}
