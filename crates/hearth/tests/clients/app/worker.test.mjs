import { env } from "cloudflare:test";
import { it } from "vitest";

import { checks } from "./checks.mjs";

it("asks env.AI", { timeout: 120_000 }, async () => {
  console.log(`OUTCOMES ${JSON.stringify(await checks(env.AI))}`);
});
