// Sends the `env.AI` of Miniflare to a hearth, with nothing changed in the project.
//
//   NODE_OPTIONS="--require /path/to/preload.cjs" wrangler dev --local
//
// Miniflare (4 and 5; also below wrangler, the vitest plugin and the Vite plugin) describes the binding
// to workerd by two functions of an object that it exports, AI_PLUGIN. This file waits for Miniflare to
// be loaded and replaces the two: the binding stays workerd's own class, and its requests go to hearth
// as plain HTTP. Other bindings are left alone.
//
//   HEARTH_URL    where hearth listens (http://127.0.0.1:7777)
//   HEARTH_TOKEN  its token, needed only for a hearth on another machine
"use strict";

const Module = require("node:module");

const SERVICE = "hearth:ai";
/** Requests and files that may be Miniflare's own module. */
const MINIFLARE = /^miniflare$|[\\/]miniflare[^\\/]*[\\/]dist[\\/]src[\\/]index\.c?js$/;
/** What says that an AI_PLUGIN was replaced already, by this file or by another copy of it. */
const REPLACED = Symbol.for("hearth.replaced");

/** The service of workerd that is hearth. */
function service() {
  const text = process.env.HEARTH_URL || "http://127.0.0.1:7777";
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || url.protocol !== "http:") {
    throw new Error(`HEARTH_URL is ${JSON.stringify(text)}, which is no http:// URL`);
  }
  const token = process.env.HEARTH_TOKEN;
  const headers = token ? [{ name: "authorization", value: `Bearer ${token}` }] : [];
  return {
    name: SERVICE,
    external: {
      address: `${url.hostname}:${url.port || 80}`,
      http: headers.length > 0 ? { injectRequestHeaders: headers } : {},
    },
  };
}

/** The names of a worker's AI bindings, from the options of Miniflare 4 or 5. */
function names(options) {
  if (options.config?.env !== undefined) {
    const bindings = Object.entries(options.config.env);
    return bindings.filter(([, binding]) => binding.type === "ai").map(([name]) => name);
  }
  return options.ai === undefined ? [] : [options.ai.binding];
}

/** Replaces the two functions of an AI plugin, in place. */
function replace(plugin) {
  if (plugin[REPLACED]) {
    return;
  }
  Object.defineProperty(plugin, REPLACED, { value: true });
  plugin.getBindings = async (options) =>
    names(options).map((name) => ({
      name,
      wrapped: {
        moduleName: "cloudflare-internal:ai-api",
        innerBindings: [{ name: "fetcher", service: { name: SERVICE } }],
      },
    }));
  plugin.getServices = async ({ options }) => (names(options).length > 0 ? [service()] : []);
}

// Both `require` and `import` of a CommonJS module come through here.
const load = Module._load;
Module._load = function (request, ...rest) {
  const exports = load.call(this, request, ...rest);
  if (typeof request === "string" && MINIFLARE.test(request) && exports?.AI_PLUGIN) {
    replace(exports.AI_PLUGIN);
  }
  return exports;
};
