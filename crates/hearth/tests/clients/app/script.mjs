// The Worker as Miniflare takes it.
import { readFileSync } from "node:fs";

const contents = (name) => readFileSync(new URL(name, import.meta.url), "utf8");

export const worker = {
  compatibilityDate: "2025-06-01",
  modules: [
    { type: "ESModule", path: "worker.js", contents: contents("worker.js") },
    { type: "ESModule", path: "checks.mjs", contents: contents("checks.mjs") },
  ],
};
