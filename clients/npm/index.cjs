// Ways to a hearth (Workers AI on your own machine) for tools that are set up by code. With
// `hearth dev COMMAND` none of this is needed.
"use strict";

const API = "https://api.cloudflare.com/client/v4";
const ACCOUNT = "00000000000000000000000000000000";

/** Where hearth listens: `options.url`, else the variable HEARTH_URL, else its default address. */
function hearthUrl(options = {}) {
  const variable = typeof process === "object" ? process.env?.HEARTH_URL : undefined;
  const text = String(options.url || variable || "http://127.0.0.1:7777");
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || url.protocol !== "http:") {
    throw new TypeError(`hearth's URL is ${JSON.stringify(text)}, which is no http:// URL`);
  }
  return url;
}

/** The file for `NODE_OPTIONS="--require …"`, which redirects Miniflare wherever it is used. */
const hearthPreload = typeof __dirname === "string" ? `${__dirname}/preload.cjs` : "";

/** Base URLs for clients of the REST surface. */
function hearthUrls(options = {}) {
  const api = `${hearthUrl(options).origin}/client/v4`;
  const account = options.accountId ?? ACCOUNT;
  const ai = `${api}/accounts/${account}/ai`;
  return { api, accountId: account, run: `${ai}/run`, openai: `${ai}/v1` };
}

/** Options of Miniflare 4 (`new Miniflare({ …hearthMiniflare4() })`), also for
 * `convertV4MiniflareOptions` of Miniflare 5. */
function hearthMiniflare4(options = {}) {
  const binding = options.binding ?? "AI";
  // A URL object: Miniflare takes a string for nothing at all.
  return { ai: { binding, remoteProxyConnectionString: hearthUrl(options) } };
}

/** A worker of Miniflare 5 with the binding added. */
function hearthMiniflare5(worker, options = {}) {
  const binding = options.binding ?? "AI";
  const env = { ...worker.config?.env, [binding]: { type: "ai", dev: { remote: true } } };
  return {
    ...worker,
    config: { ...worker.config, env },
    dev: { ...worker.dev, remoteProxyConnectionString: hearthUrl(options) },
  };
}

/** Options for `cloudflareTest` of @cloudflare/vitest-plugin, around those of your own. */
function hearthVitest(own = {}, options = {}) {
  return {
    ...own,
    remoteBindings: false, // otherwise the plugin wants an account
    miniflare: { ...own.miniflare, ...hearthMiniflare4(options) },
  };
}

/** A `fetch` that sends what is for Cloudflare's API to hearth, for clients with a fixed host. */
function hearthFetch(options = {}) {
  const inner = options.fetch ?? globalThis.fetch;
  const { api } = hearthUrls(options);
  return (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    if (url !== API && !url.startsWith(`${API}/`)) {
      return inner(input, init);
    }
    const here = api + url.slice(API.length);
    return inner(input instanceof Request ? new Request(here, input) : here, init);
  };
}

/** The parts of a configuration of workerd that bind env.AI to hearth. */
function hearthCapnp(options = {}) {
  const url = hearthUrl(options);
  const address = `${url.hostname}:${url.port || 80}`;
  return {
    service: `(name = "hearth", external = (address = "${address}", http = ()))`,
    binding: `(name = "${options.binding ?? "AI"}", wrapped = (
  moduleName = "cloudflare-internal:ai-api",
  innerBindings = [ (name = "fetcher", service = "hearth") ]))`,
  };
}

/** The bindings of a worker that name this plugin. */
function named(options) {
  const bindings = Object.entries(options.config?.env ?? {});
  return bindings.filter(([, binding]) => binding.dev?.plugin?.name === "hearth");
}

const serviceName = (name) => `hearth:ai:${name}`;

/** Miniflare's own plugins, for `unsafe.bindings` of a wrangler configuration:
 * `"dev": { "plugin": { "package": "hearth-workers-ai", "name": "hearth" }, "options": { "url": … } }` */
const plugins = {
  hearth: {
    getBindings: async (options) =>
      named(options).map(([name]) => ({
        name,
        wrapped: {
          moduleName: "cloudflare-internal:ai-api",
          innerBindings: [{ name: "fetcher", service: { name: serviceName(name) } }],
        },
      })),
    getNodeBindings: () => ({}),
    getServices: async ({ options }) =>
      named(options).map(([name, binding]) => {
        const url = hearthUrl(binding.dev.options ?? binding.options);
        const address = `${url.hostname}:${url.port || 80}`;
        return { name: serviceName(name), external: { address, http: {} } };
      }),
  },
};

// Written so that Node finds the names for `import`, too.
module.exports = {
  hearthCapnp,
  hearthFetch,
  hearthMiniflare4,
  hearthMiniflare5,
  hearthPreload,
  hearthUrl,
  hearthUrls,
  hearthVitest,
  plugins,
};
