// Runs the original validator. Lines in: "S<tab>name<tab>schema" makes a schema known,
// "C<tab>name<tab>input" is a case. A line out for each case: ["becomes", input] or ["fails", message].
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { join } from "node:path";

const require = createRequire(join(process.cwd(), "package.json"));
const { Cabidela } = require("@cloudflare/cabidela");

const validators = new Map();
let out = [];
const flush = () => {
  if (out.length > 0) process.stdout.write(out.join("\n") + "\n");
  out = [];
};

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const [kind, name, text] = line.split("\t");
  const value = JSON.parse(text);
  if (kind === "S") {
    validators.set(name, new Cabidela(value, { applyDefaults: true, fullErrors: true }));
    continue;
  }
  try {
    validators.get(name).validate(value);
    out.push(JSON.stringify(["becomes", value]));
  } catch (error) {
    out.push(JSON.stringify(["fails", error.message]));
  }
  if (out.length >= 256) flush();
}
flush();
