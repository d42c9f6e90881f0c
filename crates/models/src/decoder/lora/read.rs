//! An adapter's files, in the layout that PEFT writes: `adapter_config.json` and `adapter_model.safetensors`. Neither is
//! trusted: everything is compared with the model before numbers are read.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Adapter, Delta, Module, RANK_MAX};
use crate::checkpoint::Checkpoint;
use crate::decoder::config::DecoderConfig;
use crate::load::Files;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// What PEFT puts before the name of a module.
const PREFIX: &str = "base_model.model.model.layers.";
const DOWN: &str = ".lora_A.weight";
const UP: &str = ".lora_B.weight";

/// The fields of `adapter_config.json` that change what an adapter computes (`LoraConfig` of PEFT).
#[derive(Debug, Deserialize)]
struct Config {
    r: usize,
    lora_alpha: f64,
    peft_type: Option<String>,
    bias: Option<String>,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    modules_to_save: Option<Vec<String>>,
    #[serde(default)]
    rank_pattern: Map<String, Value>,
    #[serde(default)]
    alpha_pattern: Map<String, Value>,
}

/// An adapter whose files fit a model, not yet in memory.
pub(super) struct Described {
    checkpoint: Checkpoint,
    deltas: Vec<Place>,
    layers: usize,
    pub(super) bytes: u64,
}

/// A pair of matrices in the file.
struct Place {
    layer: usize,
    module: Module,
    /// The tensors' name up to `.lora_A`.
    name: String,
    widths: (usize, usize),
    rank: usize,
    scale: f32,
}

impl Described {
    /// Reads the configuration and the header.
    ///
    /// # Errors
    /// What an adapter of this model cannot be, in words.
    pub(super) fn open(files: &Files, model: &DecoderConfig) -> Result<Self, String> {
        let config: Config = files.json(CONFIG).map_err(|error| error.to_string())?;
        config.check()?;
        let checkpoint = Checkpoint::open_files(files, &[WEIGHTS.to_owned()])
            .map_err(|error| error.to_string())?;
        let mut halves: HashMap<&str, usize> = HashMap::new();
        for name in checkpoint.names() {
            let whole = name.strip_suffix(DOWN).or_else(|| name.strip_suffix(UP));
            let module = whole.filter(|name| name.starts_with(PREFIX));
            let module = module.ok_or_else(|| {
                format!("tensor {name:?} is none of a projection in a layer of this model")
            })?;
            *halves.entry(module).or_default() += 1;
        }
        let mut deltas = Vec::new();
        for (name, count) in halves {
            if count != 2 {
                return Err(format!("{name:?} has one of its two matrices"));
            }
            deltas.push(config.place(name, model, &checkpoint)?);
        }
        if deltas.is_empty() {
            return Err("it has no matrices".into());
        }
        let bytes = deltas
            .iter()
            .map(|place| Delta::bytes(place.widths, place.rank));
        Ok(Self {
            bytes: bytes.sum(),
            layers: model.layers,
            deltas,
            checkpoint,
        })
    }

    /// Reads the numbers.
    ///
    /// # Errors
    /// What the file says of itself and does not keep.
    pub(super) fn read(&self, id: u64) -> Result<Adapter, String> {
        let mut layers: Vec<_> = (0..self.layers).map(|_| Default::default()).collect();
        for place in &self.deltas {
            let (inner, outer) = place.widths;
            let floats = |which: &str, shape: [usize; 2]| {
                let numbers = self
                    .checkpoint
                    .floats(&format!("{}{which}", place.name), &shape);
                numbers.map_err(|error| error.to_string())
            };
            let down = floats(DOWN, [place.rank, inner])?;
            let up = floats(UP, [outer, place.rank])?;
            let modules: &mut [Option<Delta>; Module::ALL.len()] = &mut layers[place.layer];
            modules[place.module as usize] = Some(Delta::new(place.widths, down, &up, place.scale));
        }
        Ok(Adapter {
            id,
            layers,
            bytes: self.bytes,
        })
    }
}

impl Config {
    /// Refuses kinds of adapters that compute something else.
    fn check(&self) -> Result<(), String> {
        let saves = self.modules_to_save.as_ref();
        let asked = [
            (
                self.peft_type.as_deref().is_some_and(|kind| kind != "LORA"),
                "a peft_type other than LORA",
            ),
            (self.use_dora, "use_dora"),
            (self.fan_in_fan_out, "fan_in_fan_out"),
            (
                self.bias.as_deref().is_some_and(|bias| bias != "none"),
                "bias",
            ),
            (
                saves.is_some_and(|modules| !modules.is_empty()),
                "modules_to_save",
            ),
        ];
        if let Some((_, name)) = asked.iter().find(|(is_asked, _)| *is_asked) {
            return Err(format!("{name} is not served by this version of hearth"));
        }
        if !self.lora_alpha.is_finite() {
            return Err("lora_alpha is no number".into());
        }
        Ok(())
    }

    /// A pair of matrices whose shapes are those of a projection of the model.
    fn place(
        &self,
        name: &str,
        model: &DecoderConfig,
        checkpoint: &Checkpoint,
    ) -> Result<Place, String> {
        let rest = &name[PREFIX.len()..];
        let known = rest.split_once('.').and_then(|(layer, module)| {
            let mut modules = Module::ALL.into_iter();
            let module = modules.find(|known| known.name() == module)?;
            Some((layer.parse::<usize>().ok()?, module))
        });
        let (layer, module) = known.ok_or_else(|| format!("{name:?} is no projection here"))?;
        if layer >= model.layers {
            let layers = model.layers;
            return Err(format!(
                "it has a layer {layer}, and the model has {layers}"
            ));
        }
        let full = format!("model.layers.{rest}");
        let rank = match matching(&self.rank_pattern, &full)? {
            Some(rank) => rank.as_u64().unwrap_or(0) as usize,
            None => self.r,
        };
        if !(1..=RANK_MAX).contains(&rank) {
            return Err(format!("a rank of {rank}: 1 to {RANK_MAX} are taken"));
        }
        let alpha = match matching(&self.alpha_pattern, &full)? {
            Some(alpha) => alpha
                .as_f64()
                .ok_or_else(|| format!("alpha_pattern has no number for {full}"))?,
            None => self.lora_alpha,
        };
        let widths = module.widths(model);
        for (which, wanted) in [(DOWN, [rank, widths.0]), (UP, [widths.1, rank])] {
            let tensor = format!("{name}{which}");
            let shape = checkpoint.shape(&tensor).unwrap_or_default();
            if shape != wanted {
                return Err(format!(
                    "tensor {tensor:?} has the shape {shape:?}, and this model and the adapter's rank want {wanted:?}"
                ));
            }
        }
        // Kalajdzievski 2023 divides by the root.
        let divisor = if self.use_rslora {
            (rank as f64).sqrt()
        } else {
            rank as f64
        };
        Ok(Place {
            layer,
            module,
            name: name.to_owned(),
            widths,
            rank,
            scale: (alpha / divisor) as f32,
        })
    }
}

/// The first of a pattern's entries for a module. PEFT takes regular expressions there; plain ends of names are read here.
fn matching<'a>(
    pattern: &'a Map<String, Value>,
    module: &str,
) -> Result<Option<&'a Value>, String> {
    let is_plain = |key: &str| {
        let mut letters = key.chars();
        letters.all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '.'))
    };
    for (key, value) in pattern {
        if !is_plain(key) {
            return Err(format!(
                "a pattern {key:?} is not served: ends of names are"
            ));
        }
        let before = module.strip_suffix(key.as_str());
        if before.is_some_and(|before| before.is_empty() || before.ends_with('.')) {
            return Ok(Some(value));
        }
    }
    Ok(None)
}
