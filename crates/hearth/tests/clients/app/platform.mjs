import { getPlatformProxy } from "wrangler";

import { checks } from "./checks.mjs";

const platform = await getPlatformProxy({ configPath: "./wrangler.json" });
console.log(`OUTCOMES ${JSON.stringify(await checks(platform.env.AI))}`);
await platform.dispose();
