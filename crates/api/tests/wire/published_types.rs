//! The types that `@cloudflare/workers-types` publishes for `env.AI.run`: what a stub answers to the smallest input of
//! each model of their map is of the type that the map has for it, and so is the input.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use catalog::Catalog;
use testkit::Npm;

use crate::every_text_model::surface;
use crate::house::send;
use crate::smallest::{Sent, asks, smallest};

/// The packages, below this crate's folder.
const PACKAGES: &str = "tests/wire/types";

/// Names of the catalogue that the map does not have.
const UNPUBLISHED: [&str; 15] = [
    "@cf/cloudflare/clef",
    "@cf/cloudflare/clef-flash",
    "@cf/cloudflare/clef-omni",
    "@cf/deepseek-ai/deepseek-math-7b-base",
    "@cf/facebook/detr-resnet-50",
    "@cf/meta/llama-3.1-70b-instruct",
    "@cf/meta/llama-3.1-70b-instruct-fp8-fast",
    "@cf/meta/llama-3.1-8b-instruct",
    "@cf/meta/llama-3.1-8b-instruct-fast",
    "@cf/meta/llama-3.1-8b-instruct-fp8-fast",
    "@cf/runwayml/stable-diffusion-v1-5-img2img",
    "@cf/swiss-ai/apertus-v1.5-8b",
    "@cf/utter-project/eurollm-9b-it",
    "@hf/meta-llama/meta-llama-3-8b-instruct",
    "@hf/thebloke/llamaguard-7b-awq",
];

/// What is assigned to a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Input,
    Output,
}
use Side::{Input, Output};

/// Where the service and its types differ, and hearth does as the service: the side, the models, what each complaint of
/// the compiler has to name, and why.
struct Difference {
    side: Side,
    models: &'static [&'static str],
    named: &'static [&'static str],
    #[allow(dead_code)] // for readers
    reason: &'static str,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        side: Input,
        models: &["@cf/ai4bharat/indictrans2-en-indic-1B"],
        named: &["target_language"],
        reason: "the schema has a default for it",
    },
    Difference {
        side: Input,
        models: &["@cf/baai/bge-reranker-base"],
        named: &["\"query\""],
        reason: "the types leave out the query, which the schema requires",
    },
    Difference {
        side: Output,
        models: &[
            "@cf/deepgram/aura-1",
            "@cf/deepgram/aura-2-en",
            "@cf/deepgram/aura-2-es",
            "@cf/leonardo/phoenix-1.0",
        ],
        named: &["ReadableStream"],
        reason: "bytes come as a stream, which the types made from the schema's `string` do not say",
    },
    Difference {
        side: Output,
        models: &[
            "@cf/deepseek-ai/deepseek-v4-flash-0731",
            "@cf/deepseek-ai/deepseek-v4-pro-0813",
            "@cf/google/gemma-4-26b-a4b-it",
            "@cf/moonshotai/kimi-k2.5",
            "@cf/moonshotai/kimi-k2.6",
            "@cf/moonshotai/kimi-k2.7-code",
            "@cf/nvidia/nemotron-3-120b-a12b",
            "@cf/qwen/qwen3.8-27b",
            "@cf/zai-org/glm-4.7-flash",
            "@cf/zai-org/glm-5.2",
            "@cf/zai-org/glm-5.3",
            "@cf/zai-org/glm-5.3-flash",
        ],
        named: &["\"reasoning_content\"", "\"neurons\""],
        reason: "the types are OpenAI's, without what the service adds to them",
    },
    Difference {
        side: Output,
        models: &["@cf/meta/llama-3.2-11b-vision-instruct"],
        named: &["\"usage\""],
        reason: "the older answers count tokens, too",
    },
    Difference {
        side: Output,
        models: &["@cf/openai/gpt-oss-120b", "@cf/openai/gpt-oss-20b"],
        named: &["'refusal'", "\"reasoning_content\""],
        reason: "the types are OpenAI's; its refusal is told by some of the service's back ends only",
    },
];

const PRELUDE: &str = "\
declare const stream: ReadableStream<Uint8Array>;
type Of<M extends keyof AiModels, S extends keyof AiModels[M]> = AiModels[M][S];
";

/// The sources, and whose value each line of them assigns.
#[derive(Default)]
struct Program {
    text: String,
    lines: Vec<Option<(Side, String)>>,
}

impl Program {
    fn new() -> Self {
        let mut program = Self::default();
        for line in PRELUDE.lines() {
            program.line(line, None);
        }
        program
    }

    fn line(&mut self, line: &str, of: Option<(Side, String)>) {
        assert!(!line.contains('\n'));
        writeln!(self.text, "{line}").unwrap();
        self.lines.push(of);
    }

    fn assign(&mut self, model: &str, side: Side, value: &str) {
        let key = match side {
            Input => "inputs",
            Output => "postProcessedOutputs",
        };
        let number = self.lines.len();
        let line = format!(r#"export const v{number}: Of<"{model}", "{key}"> = {value};"#);
        self.line(&line, Some((side, model.to_owned())));
    }

    /// The names of the map, no more and no fewer.
    fn names(&mut self, names: &BTreeSet<String>) {
        let names: Vec<_> = names
            .iter()
            .map(|name| format!(r#""{name}": true"#))
            .collect();
        let names = names.join(", ");
        self.line(
            &format!("export const names: Record<keyof AiModels, true> = {{ {names} }};"),
            None,
        );
    }
}

/// What a Worker hands to the binding.
fn worker_input(class: &str, sent: &Sent) -> String {
    match sent {
        Sent::Json(input) => input.clone(),
        Sent::Bytes(kind, _) => {
            let name = if class == "t2i-flux-2" {
                "multipart"
            } else {
                "audio"
            };
            format!(r#"{{"{name}": {{"body": stream, "contentType": "{kind}"}}}}"#)
        }
    }
}

/// The places of the compiler's complaints, by line from 0, and their texts.
fn complaints(output: &str) -> Vec<(usize, String)> {
    let read = |line: &str| {
        let (place, text) = line.split_once(": error ")?;
        let place = place.rsplit_once("answers.ts").map(|(_, place)| place)?;
        let place = place.strip_prefix('(')?;
        let line: usize = place.split(',').next()?.parse().ok()?;
        Some((line - 1, text.to_owned()))
    };
    output.lines().filter_map(read).collect()
}

fn compile(program: &Program) -> String {
    let npm = Npm::locked(&Path::new(env!("CARGO_MANIFEST_DIR")).join(PACKAGES));
    let folder = tempfile::tempdir_in(npm.folder()).unwrap();
    let file = folder.path().join("answers.ts");
    std::fs::write(&file, &program.text).unwrap();
    let compiler = npm.folder().join("node_modules/typescript/bin/tsc");
    let output = npm
        .node(&compiler)
        .args([
            "--noEmit",
            "--strict",
            "--skipLibCheck",
            "--target",
            "esnext",
        ])
        .args(["--lib", "esnext", "--module", "esnext"])
        .args([
            "--moduleResolution",
            "bundler",
            "--types",
            "@cloudflare/workers-types",
        ])
        .args(["--pretty", "false"])
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() || text.contains("answers.ts("),
        "{text}{errors}"
    );
    text
}

#[tokio::test]
async fn what_a_stub_answers_is_of_the_published_types() {
    let catalog = Catalog::builtin().unwrap();
    let app = surface(Catalog::builtin().unwrap());
    let mut program = Program::new();
    let all: BTreeSet<String> = catalog.cards().map(|card| card.name.clone()).collect();
    let unpublished: BTreeSet<String> = UNPUBLISHED.iter().map(|name| (*name).to_owned()).collect();
    assert!(unpublished.is_subset(&all));
    let published: BTreeSet<String> = all.difference(&unpublished).cloned().collect();
    program.names(&published);
    for name in &published {
        let class = catalog.card(name).unwrap().schema_class.as_str();
        let (sent, ..) = smallest(class);
        program.assign(name, Input, &worker_input(class, &sent));
        let [_, ask] = asks(name, &sent);
        let answer = send(&app, ask).await;
        if class == "asr-deepgram-flux" {
            continue; // it answers over a WebSocket alone
        }
        assert_eq!(answer.status, 200, "{name}: {}", answer.body);
        let is_json = answer.header("content-type") == Some("application/json");
        program.assign(name, Output, if is_json { &answer.body } else { "stream" });
    }
    let output = compile(&program);
    let complaints = complaints(&output);
    let mut known: BTreeSet<(Side, &str)> = BTreeSet::new();
    let mut found = BTreeSet::new();
    for difference in DIFFERENCES {
        known.extend(
            difference
                .models
                .iter()
                .map(|model| (difference.side, *model)),
        );
    }
    for (line, text) in &complaints {
        let Some(Some((side, model))) = program.lines.get(*line) else {
            panic!("the list of names, or the program itself: {text}");
        };
        let is_known = DIFFERENCES.iter().any(|difference| {
            difference.side == *side
                && difference.models.contains(&model.as_str())
                && difference.named.iter().any(|name| text.contains(name))
        });
        assert!(is_known, "{side:?} of {model}: {text}");
        found.insert((*side, model.as_str()));
    }
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(gone.is_empty(), "these agree with the types now: {gone:#?}");
}
