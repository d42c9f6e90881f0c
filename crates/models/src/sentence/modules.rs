//! What follows the transformer in the layout of sentence-transformers: `modules.json` lists a pooling and
//! dense layers, each with a folder of its own.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::Checkpoint;
use crate::dense::Dense;
use crate::load::{Files, LoadError};
use crate::quality::Quality;

const MODULES: &str = "modules.json";
const PROMPTS: &str = "config_sentence_transformers.json";
/// The most modules.
const MODULES_MAX: usize = 16;
/// The widest vector, in numbers.
const WIDTH_MAX: usize = 1 << 20;

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    First,
    Mean,
    Last,
}

/// A dense layer after the pooling.
#[derive(Debug)]
pub(super) struct After {
    pub(super) dense: Dense,
    /// Whether a hyperbolic tangent follows.
    pub(super) tangent: bool,
}

/// What follows the transformer.
#[derive(Debug)]
pub(super) struct Modules {
    pub(super) pool: Pool,
    /// The dense layers, by the folder and the shape of each.
    layers: Vec<Layer>,
    /// Numbers of the last layer's vectors.
    pub(super) width: usize,
}

#[derive(Debug)]
struct Layer {
    folder: String,
    inputs: usize,
    outputs: usize,
    has_bias: bool,
    tangent: bool,
}

#[derive(Deserialize)]
struct RawModule {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct RawDense {
    in_features: usize,
    out_features: usize,
    #[serde(default = "yes")]
    bias: bool,
    activation_function: Option<String>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct RawPrompts {
    #[serde(default)]
    prompts: BTreeMap<String, String>,
    default_prompt_name: Option<String>,
}

impl Modules {
    /// Reads what follows a transformer whose vectors have `hidden` numbers; no weights yet.
    pub(super) fn read(files: &Files, hidden: usize) -> Result<Self, LoadError> {
        let listed: Vec<RawModule> = files.json(MODULES)?;
        let corrupt = |detail: String| LoadError::corrupt(&files.path(MODULES), detail);
        if listed.len() > MODULES_MAX {
            let found = listed.len();
            return Err(corrupt(format!("{found} modules; {MODULES_MAX} at most")));
        }
        let mut pool = None;
        let mut layers: Vec<Layer> = Vec::new();
        for RawModule { path, kind } in listed {
            let word = kind.rsplit('.').next().unwrap_or_default();
            let is_root = word == "Transformer" && path.is_empty();
            if !is_root && (path.is_empty() || !is_plain(&path)) {
                return Err(corrupt(format!("{path:?} is no folder beside it")));
            }
            match (word, pool) {
                ("Transformer", _) if is_root => {}
                ("Pooling", None) => pool = Some(pooling(files, &path)?),
                ("Dense", Some(_)) => {
                    let inputs = layers.last().map_or(hidden, |layer| layer.outputs);
                    layers.push(Layer::read(files, path, inputs)?);
                }
                ("Normalize", Some(_)) => {} // what is answered has unit length in any case
                _ => {
                    let detail = format!("the module {kind:?} at this place is not known here");
                    return Err(LoadError::unsupported(&files.path(MODULES), detail));
                }
            }
        }
        Ok(Self {
            pool: pool.ok_or_else(|| corrupt("it has no pooling".into()))?,
            width: layers.last().map_or(hidden, |layer| layer.outputs),
            layers,
        })
    }

    /// Reads the weights of the dense layers, which keep their floats.
    pub(super) fn weights(&self, files: &Files) -> Result<Vec<After>, LoadError> {
        let read = |layer: &Layer| {
            let name = format!("{}/model.safetensors", layer.folder);
            let checkpoint = Checkpoint::open_files(files, &[name])?;
            if layer.has_bias {
                checkpoint.check("linear.bias", &[layer.outputs])?;
            }
            let part = ("linear".to_owned(), layer.outputs);
            Ok(After {
                dense: Dense::read(&checkpoint, &[part], layer.inputs, Quality::Exact)?,
                tangent: layer.tangent,
            })
        };
        self.layers.iter().map(read).collect()
    }

    /// Numbers in the weights of the dense layers.
    pub(super) fn elements(&self) -> u64 {
        let sizes = self.layers.iter().map(|l| l.outputs * (l.inputs + 1));
        sizes.sum::<usize>() as u64
    }
}

impl Layer {
    fn read(files: &Files, folder: String, inputs: usize) -> Result<Self, LoadError> {
        let name = format!("{folder}/config.json");
        let raw: RawDense = files.json(&name)?;
        let file = files.path(&name);
        let word = raw.activation_function.as_deref().unwrap_or("Tanh");
        let tangent = match word.rsplit('.').next() {
            Some("Identity") => false,
            Some("Tanh") => true,
            _ => {
                let detail = format!("activation_function {word:?}; Identity and Tanh are known");
                return Err(LoadError::unsupported(&file, detail));
            }
        };
        if raw.in_features != inputs || raw.out_features == 0 || raw.out_features > WIDTH_MAX {
            let detail = format!(
                "it takes {} numbers to {}; it is given {inputs}, and 1 to {WIDTH_MAX} may leave it",
                raw.in_features, raw.out_features
            );
            return Err(LoadError::corrupt(&file, detail));
        }
        Ok(Self {
            folder,
            inputs,
            outputs: raw.out_features,
            has_bias: raw.bias,
            tangent,
        })
    }
}

fn pooling(files: &Files, folder: &str) -> Result<Pool, LoadError> {
    let name = format!("{folder}/config.json");
    let raw: BTreeMap<String, Value> = files.json(&name)?;
    let mut modes = raw.iter().filter_map(|(key, value)| {
        let mode = key.strip_prefix("pooling_mode_")?;
        (value == true).then_some(mode)
    });
    match (modes.next(), modes.next()) {
        (Some("cls_token"), None) => Ok(Pool::First),
        (Some("mean_tokens"), None) => Ok(Pool::Mean),
        (Some("lasttoken"), None) => Ok(Pool::Last),
        _ => Err(LoadError::unsupported(
            &files.path(&name),
            "a pooling that is not exactly one of the first token, the mean and the last token",
        )),
    }
}

/// What is put before each text where nobody asks for another prompt; mostly nothing.
pub(super) fn prompt(files: &Files) -> Result<String, LoadError> {
    if !files.has(PROMPTS) {
        return Ok(String::new());
    }
    let mut raw: RawPrompts = files.json(PROMPTS)?;
    let Some(name) = raw.default_prompt_name else {
        return Ok(String::new());
    };
    raw.prompts.remove(&name).ok_or_else(|| {
        let detail = format!("default_prompt_name is {name:?}, and no prompt has this name");
        LoadError::corrupt(&files.path(PROMPTS), detail)
    })
}

fn is_plain(name: &str) -> bool {
    let of_words = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    name.bytes().all(of_words)
}
