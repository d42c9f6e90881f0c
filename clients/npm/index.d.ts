/** Where hearth is. */
export interface HearthOptions {
  /** Its address; else the variable HEARTH_URL, else http://127.0.0.1:7777. */
  url?: string | URL;
}

export interface BindingOptions extends HearthOptions {
  /** The name of the binding (AI). */
  binding?: string;
}

export interface RestOptions extends HearthOptions {
  /** The account in the URLs; hearth takes any. */
  accountId?: string;
}

/** Where hearth listens. Throws for what is no http:// URL. */
export function hearthUrl(options?: HearthOptions): URL;

/** The file for `NODE_OPTIONS="--require …"`. */
export const hearthPreload: string;

/** Base URLs for clients of the REST surface. */
export function hearthUrls(options?: RestOptions): {
  /** `baseURL` of the package cloudflare. */
  api: string;
  accountId: string;
  /** In front of a model's name. */
  run: string;
  /** `baseURL` of OpenAI's clients. */
  openai: string;
};

export interface Miniflare4Ai {
  ai: { binding: string; remoteProxyConnectionString: URL };
}

/** Options of Miniflare 4, also for `convertV4MiniflareOptions` of Miniflare 5. */
export function hearthMiniflare4(options?: BindingOptions): Miniflare4Ai;

/** A worker of Miniflare 5 with the binding added. */
export function hearthMiniflare5<W extends object>(worker: W, options?: BindingOptions): W;

/** Options for `cloudflareTest` of @cloudflare/vitest-plugin, around those of your own. */
export function hearthVitest<O extends object>(
  own?: O,
  options?: BindingOptions,
): O & { remoteBindings: false; miniflare: Miniflare4Ai };

/** A `fetch` that sends what is for Cloudflare's API to hearth. */
export function hearthFetch(options?: RestOptions & { fetch?: typeof fetch }): typeof fetch;

/** The parts of a configuration of workerd that bind env.AI to hearth. */
export function hearthCapnp(options?: BindingOptions): { service: string; binding: string };

/** Miniflare's plugins, for `unsafe.bindings` of a wrangler configuration. */
export const plugins: Record<"hearth", object>;
