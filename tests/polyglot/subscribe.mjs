// Subscribes with npm's ws: subscribe.mjs proto|json URL CHANNEL COUNT
//
// Prints `subscribed`, then each value as one line, and ends after COUNT. `proto` decodes with code that pbjs
// generated from the contract; `json` needs no generated code.
import { createRequire } from "node:module";
import { WebSocket } from "ws";

const [wire, url, channel, count] = process.argv.slice(2);
const codec = wire === "proto" ? proto() : json();

const socket = new WebSocket(url, `tailcast.v1.${wire}`);
let left = Number(count);

socket.on("open", () => {
  socket.send(codec.encode({ id: 1, connect: { clientName: "polyglot", subscriptions: [{ name: channel }] } }));
});
socket.on("message", (data) => {
  for (const frame of codec.decode(data)) {
    if (frame.subscribed) console.log("subscribed");
    if (frame.error) fail(JSON.stringify(frame.error));
    if (typeof frame.delivery === "string") {
      console.log(frame.delivery);
      if (--left === 0) socket.close(1000);
    }
  }
});
socket.on("error", (error) => fail(error.message));
socket.on("close", (code, reason) => {
  if (left > 0) fail(`closed with ${code} ${reason} before ${left} more`);
  process.exit(0);
});
setTimeout(() => fail(`${left} of ${count} deliveries did not come within 30 s`), 30_000).unref();

function fail(what) {
  console.error(`subscribe.mjs: ${what}`);
  process.exit(1);
}

// Both codecs give frames as { subscribed, error, delivery }, the delivery as text.

function proto() {
  const { ClientMessage, ServerMessage } = createRequire(import.meta.url)("./push.cjs").tailcast.push.v1;
  return {
    encode: (message) => ClientMessage.encode(ClientMessage.create(message)).finish(),
    decode: (data) =>
      ServerMessage.decode(data).frames.map((frame) => ({
        ...frame,
        delivery: frame.delivery && new TextDecoder().decode(frame.delivery.value),
      })),
  };
}

function json() {
  return {
    encode: JSON.stringify,
    decode: (data) =>
      data
        .toString()
        .split("\n")
        .filter((line) => line !== "")
        .flatMap((line) => JSON.parse(line).frames)
        .map((frame) => ({ ...frame, delivery: frame.delivery?.text })),
  };
}
