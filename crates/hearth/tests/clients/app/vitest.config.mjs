import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";

export default defineConfig({
  // workerd tells of an abort twice: to the caller, and as a rejection that nobody handles.
  test: { dangerouslyIgnoreUnhandledErrors: true },
  plugins: [cloudflareTest({ wrangler: { configPath: "./wrangler.json" } })],
});
