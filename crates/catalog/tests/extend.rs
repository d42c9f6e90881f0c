//! A user's own file: what it adds, what it may change, and what is refused.

use catalog::{Catalog, Origin, Source};
use tasks::Grade;

const BASE: &str = r#"
[model."@cf/a/chat"]
task = "Text Generation"
schema = "tg-g2"
output = "legacy"
context_window = 100
twins = ["small"]

[weights.small]
architecture = "llama"
disk_bytes = 10
repository = "owner/small"
files = ["model.gguf"]

[alias]
"known" = "@cf/a/chat"
"#;

const OWN: &str = r#"
listen = "127.0.0.1:8080"
preload = ["mine"]

[weights.mine]
architecture = "llama"
path = "weights/mine.gguf"
window = 50

[weights.folder]
architecture = "bert"
path = "/models/folder"

[weights.hub]
architecture = "llama"
repository = "me/My.Model-GGUF"
revision = "0123456789abcdef"
disk_bytes = 7
files = [{ path = "sub/model-q4.gguf", sha256 = "00000000000000000000000000000000000000000000000000000000000000aa" }]

[model."@cf/a/chat"]
variants = [{ weights = "mine", grade = "quantised" }, { weights = "small", grade = "twin" }]

[group.mine]
task = "Text Embeddings"
schema = "emb-bge"
output = "embedding"

[model."@cf/me/embed"]
group = "mine"
output_dimensions = 8
twins = ["folder"]

[alias]
mine = "@cf/me/embed"
"@cf/old/name" = "@cf/a/chat"
"#;

fn base() -> Catalog {
    Catalog::parse(BASE, "base.toml").expect("the base is good")
}

#[test]
fn own_weights_models_variants_and_aliases_are_added() {
    let catalog = base()
        .extend(OWN, "/home/me/hearth.toml")
        .expect("the file is good");

    let card = catalog.card("@cf/a/chat").unwrap();
    let variants: Vec<_> = card
        .variants
        .iter()
        .map(|v| (v.weights.as_str(), v.grade))
        .collect();
    assert_eq!(
        variants,
        [("mine", Grade::Quantised), ("small", Grade::Twin)]
    );
    assert_eq!(card.context_window, Some(100), "all else stays");

    let names: Vec<_> = catalog.cards().map(|card| card.name.as_str()).collect();
    assert_eq!(names, ["@cf/a/chat", "@cf/me/embed"]);
    let named = |name: &str| catalog.card(name).map(|card| card.name.as_str());
    assert_eq!(named("mine"), Some("@cf/me/embed"));
    assert_eq!(named("known"), Some("@cf/a/chat"), "the base's own alias");
    assert_eq!(named("@cf/old/name"), Some("@cf/a/chat"));
    assert_eq!(named("Mine"), None, "letter for letter");
    let aliases: Vec<_> = catalog.aliases().collect();
    assert_eq!(aliases[0], ("known", "@cf/a/chat"));
    assert_eq!(aliases.len(), 3);

    // A relative path starts at the file; a GGUF is its own only file; a folder is taken as it is.
    let mine = catalog.weights("mine").unwrap();
    let path = "/home/me/weights/mine.gguf".into();
    assert_eq!(mine.source, Source::Local { path });
    assert_eq!(
        (mine.files.len(), mine.files[0].path.as_str()),
        (1, "mine.gguf")
    );
    assert_eq!(mine.files[0].origin, Origin::InPlace);
    assert!(catalog.weights("folder").unwrap().files.is_empty());

    let hub = catalog.weights("hub").unwrap();
    let source = Source::Hub {
        repository: "me/My.Model-GGUF".into(),
        revision: "0123456789abcdef".into(),
        gated: false,
        unchecked: false,
        others: Vec::new(),
    };
    assert_eq!(hub.source, source);
    assert_eq!(
        hub.files[0].origin,
        Origin::Hub {
            repository: 0,
            path: "sub/model-q4.gguf".into()
        }
    );
    assert!(
        hub.files[0]
            .sha256
            .as_ref()
            .is_some_and(|hash| hash.ends_with("aa"))
    );
    assert_eq!((hub.download_bytes, hub.memory_bytes), (7, 7));
}

#[test]
fn the_built_in_names_can_be_served_by_own_weights() {
    let own = r#"
        [weights.mine]
        architecture = "llama"
        path = "mine.gguf"

        [model."@cf/qwen/qwq-32b"]
        variants = [{ weights = "mine", grade = "quantised" }]

        [alias]
        chat = "@cf/qwen/qwq-32b"
    "#;
    let catalog = Catalog::builtin()
        .unwrap()
        .extend(own, "hearth.toml")
        .unwrap();
    let card = catalog.card("chat").unwrap();
    assert_eq!(card.name, "@cf/qwen/qwq-32b");
    assert_eq!(card.variants.len(), 1);
    assert_eq!(
        catalog
            .card("@cf/qwen/qwen2.5-coder-32b-instruct")
            .unwrap()
            .variants
            .len(),
        3
    );
}

/// (what is replaced in the file, by what, the message)
#[rustfmt::skip] // one case a line
const CASES: &[(&str, &str, &str)] = &[
    ("[weights.mine]", "[weights.small]", "5: weights.small: is known already; give yours another name"),
    ("[weights.mine]", "[weights.stub]", "5: weights.stub: is the name of answers without weights"),
    ("[weights.mine]", "[weight.mine]", "5: weight: unknown field `weight`, expected one of `group`, `model`, `weights`, `alias`"),
    ("variants = [", "context_window = 5\nvariants = [", "22: model.\"@cf/a/chat\".context_window: this model is known already: its `variants` can be replaced, and nothing else of it"),
    ("variants = [", "flags = []\nvariants = [", "22: model.\"@cf/a/chat\".flags: this model is known already: its `variants` can be replaced, and nothing else of it"),
    ("variants = [", "twins = [\"mine\"]\nvariants = [", "22: model.\"@cf/a/chat\".twins: this model is known already: its `variants` can be replaced, and nothing else of it"),
    ("variants = [{ weights = \"mine\", grade = \"quantised\" }, { weights = \"small\", grade = \"twin\" }]", "", "21: model.\"@cf/a/chat\": this model is known already: its `variants` can be replaced, and nothing else of it"),
    ("weights = \"small\"", "weights = \"large\"", "22: model.\"@cf/a/chat\".variants[1].weights: there are no weights \"large\""),
    ("group = \"mine\"", "group = \"chat\"", "30: model.\"@cf/me/embed\".group: there is no group \"chat\""),
    ("mine = \"@cf/me/embed\"", "mine = \"@cf/me/none\"", "35: alias.mine: there is no model \"@cf/me/none\"; an alias names a model, not another alias"),
    ("mine = \"@cf/me/embed\"", "mine = \"known\"", "35: alias.mine: there is no model \"known\"; an alias names a model, not another alias"),
    ("mine = \"@cf/me/embed\"", "\"@cf/a/chat\" = \"@cf/me/embed\"", "35: alias.\"@cf/a/chat\": is the name of a model; an alias must be a new name"),
    ("mine = \"@cf/me/embed\"", "known = \"@cf/me/embed\"", "35: alias.known: is an alias already"),
    ("mine = \"@cf/me/embed\"", "\"my model\" = \"@cf/me/embed\"", "35: alias.\"my model\": an alias must be letters, digits and \"@/-_.:\", at most 200"),
    ("mine = \"@cf/me/embed\"", "mine = 5", "35: alias.mine: invalid type: integer `5`, expected a string"),
    ("preload = [\"mine\"]", "preload = [", "6: missing comma between array elements, expected `,`, in `architecture = \"llama\"`"),
    // The hub.
    ("repository = \"me/My.Model-GGUF\"", "repository = \"My.Model-GGUF\"", "16: weights.hub.repository: must be the name of a repository of the Hugging Face Hub, \"owner/name\""),
    ("repository = \"me/My.Model-GGUF\"", "repository = \"me/../x\"", "16: weights.hub.repository: must be the name of a repository of the Hugging Face Hub, \"owner/name\""),
    ("revision = \"0123456789abcdef\"", "revision = \"a..b\"", "17: weights.hub.revision: must be a commit, a tag or a branch of the repository"),
    ("revision = \"0123456789abcdef\"", "revision = \"?x\"", "17: weights.hub.revision: must be a commit, a tag or a branch of the repository"),
    ("disk_bytes = 7\n", "", "14: weights.hub.disk_bytes: is missing"),
    ("disk_bytes = 7\n", "disk_bytes = 7\nshards = 1\n", "19: weights.hub.shards: must be 2 to 256; one file is listed by its name"),
    ("disk_bytes = 7\n", "disk_bytes = 7\nshards = 257\n", "19: weights.hub.shards: must be 2 to 256; one file is listed by its name"),
    ("disk_bytes = 7\nfiles = [", "disk_bytes = 7\nshards = 2\nfiles = [\"model-00002-of-00002.safetensors\", ", "19: weights.hub.shards: model-00002-of-00002.safetensors is listed twice"),
    ("disk_bytes = 7\nfiles = [", "disk_bytes = 7\nfiles = [5, ", "19: weights.hub.files[0]: invalid type: integer `5`, expected the name of a file, or a table"),
    ("disk_bytes = 7\nfiles = [", "disk_bytes = 7\nfiles = [\"../x\", ", "19: weights.hub.files[0]: must be a relative path without \"..\", with \"/\" between folders"),
    ("sha256 = \"0", "members = [], sha256 = \"0", "19: weights.hub.files[0].members: the file of a repository is taken as it is"),
    ("sha256 = \"0", "hash = \"0", "19: weights.hub.files[0].hash: unknown field `hash`, expected one of `path`, `sha256`, `file`, `members`, `converted`"),
    ("path = \"/models/folder\"", "path = \"/models/folder\"\ngated = true", "13: weights.folder.gated: only weights with a repository have it"),
    ("path = \"/models/folder\"", "path = \"/models/folder\"\nrepository = \"a/b\"", "12: weights.folder.path: weights have packages, a repository or a path: one of them"),
];

#[test]
fn each_fault_is_refused_with_file_line_key_and_reason() {
    let mut wrong = Vec::new();
    for (from, to, message) in CASES {
        assert!(OWN.contains(from), "the case changes nothing: {from}");
        let text = OWN.replacen(from, to, 1);
        let want = format!("hearth.toml:{message}");
        let have = base()
            .extend(&text, "hearth.toml")
            .map_or_else(|error| error.to_string(), |_| "accepted".to_owned());
        if have != want {
            wrong.push(format!("want {want}\nhave {have}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
