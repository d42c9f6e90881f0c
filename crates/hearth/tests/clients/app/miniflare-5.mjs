// Miniflare 5 by code, without the preload, by its converter of older options.
import { hearthMiniflare4 } from "hearth-workers-ai";
import { convertV4MiniflareOptions, Miniflare } from "miniflare-5";

import { worker } from "./script.mjs";

const options = { workers: [{ name: "app", ...worker, ...hearthMiniflare4() }] };
const miniflare = new Miniflare(convertV4MiniflareOptions(options));
console.log(`OUTCOMES ${await (await miniflare.dispatchFetch("http://app/outcomes")).text()}`);
await miniflare.dispose();
