// Miniflare 4 by code, without the preload: the option that its AI plugin has.
import { hearthMiniflare4 } from "hearth-workers-ai";
import { Miniflare } from "miniflare";

import { worker } from "./script.mjs";

const miniflare = new Miniflare({ ...worker, ...hearthMiniflare4() });
console.log(`OUTCOMES ${await (await miniflare.dispatchFetch("http://app/outcomes")).text()}`);
await miniflare.dispose();
