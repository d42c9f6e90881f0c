// The same as index.cjs, for `import`.
import hearth from "./index.cjs";

export const {
  hearthCapnp,
  hearthFetch,
  hearthMiniflare4,
  hearthMiniflare5,
  hearthPreload,
  hearthUrl,
  hearthUrls,
  hearthVitest,
  plugins,
} = hearth;
