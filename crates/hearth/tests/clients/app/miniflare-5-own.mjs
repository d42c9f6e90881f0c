// Miniflare 5 by code, without the preload, by its own options.
import { hearthMiniflare5 } from "hearth-workers-ai";
import { Miniflare } from "miniflare-5";

import { worker } from "./script.mjs";

const { compatibilityDate, modules } = worker;
const named = modules.map(({ path, contents }) => [path, { type: "esm", contents }]);
const manifest = {
  mainModule: "worker.js",
  modulesRoot: import.meta.dirname,
  modules: Object.fromEntries(named),
};
const app = { config: { name: "app", compatibilityDate, manifest } };
const miniflare = new Miniflare({ workers: [hearthMiniflare5(app)] });
console.log(`OUTCOMES ${await (await miniflare.dispatchFetch("http://app/outcomes")).text()}`);
await miniflare.dispose();
