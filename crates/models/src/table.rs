//! The architectures that this build can run, one line each.

use engine::{Lane, Need};
use tasks::{Classify, Embed, Rerank};

use crate::audio::silero::Silero;
use crate::device::Device;
use crate::fit::Fit;
use crate::load::{Files, LoadError};
use crate::{bert, decoder, image, sentence, whisper};

/// A row of the table.
pub struct Architecture {
    /// The word of `architecture` in models.toml.
    pub name: &'static str,
    /// Its tiny checkpoint with the reference's numbers, a folder of tests/golden.
    pub golden: &'static str,
    load: fn(&Files, &Device, Fit) -> Result<Lane, LoadError>,
    need: fn(&Files, &Device, Fit) -> Result<Need, LoadError>,
}

/// Every architecture. A new one is a file, a line here, and a golden folder.
pub const ARCHITECTURES: &[Architecture] = &[
    embedder("bert", "tiny-bert-embed"),
    embedder("xlm-roberta", "tiny-xlmr-embed"),
    reranker("bert-reranker", "tiny-bert-reranker"),
    reranker("xlm-roberta-reranker", "tiny-xlmr-reranker"),
    Architecture {
        name: "distilbert-classifier",
        golden: "tiny-distilbert-sst2",
        load: |files, device, fit| {
            let (companion, model) = bert::load_classifier(files, device, fit.quality)?;
            Ok(Lane::batch::<Classify, _>(companion, model))
        },
        need: bert::need,
    },
    sentences("gemma3-embedding", "tiny-embeddinggemma"),
    sentences("qwen3-embedding", "tiny-qwen3-embedding"),
    decoder("llama", "tiny-llama"),
    decoder("mistral", "tiny-mistral-window"),
    decoder("mixtral", "tiny-mixtral"),
    decoder("granite", "tiny-llama"), // a Llama with factors
    decoder("qwen2", "tiny-qwen2"),
    decoder("qwen2-moe", "tiny-qwen2-moe"),
    decoder("qwen3", "tiny-qwen3"),
    decoder("qwen3-moe", "tiny-qwen3-moe"),
    decoder("gemma", "tiny-gemma"),
    decoder("gemma2", "tiny-gemma2"),
    decoder("gemma3", "tiny-gemma3"),
    decoder("phi", "tiny-phi"),
    decoder("falcon", "tiny-falcon"),
    decoder("gpt-oss", "tiny-gpt-oss"),
    Architecture {
        name: "stable-diffusion",
        golden: "tiny-sd15",
        load: |files, device, fit| {
            let (companion, model) = image::load_stable(files, device, fit)?;
            Ok(Lane::sessions(companion, model))
        },
        need: image::need_stable,
    },
    Architecture {
        name: "stable-diffusion-lightning",
        golden: "tiny-sdxl",
        load: |files, device, fit| {
            let (companion, model) = image::load_lightning(files, device, fit)?;
            Ok(Lane::sessions(companion, model))
        },
        need: image::need_stable,
    },
    Architecture {
        name: "flux",
        golden: "tiny-flux-schnell",
        load: |files, device, fit| {
            let (companion, model) = image::load_flux(files, device, fit)?;
            Ok(Lane::sessions(companion, model))
        },
        need: image::need_flux,
    },
    Architecture {
        name: "whisper",
        golden: "tiny-whisper",
        load: |files, device, fit| {
            let (companion, model) = whisper::load(files, device, fit.quality)?;
            Ok(Lane::sessions(companion, model))
        },
        need: |files, device, fit| whisper::need(files, device, fit.quality),
    },
    Architecture {
        name: "silero-vad",
        golden: "silero-vad",
        load: |files, _, _| {
            let detail =
                "a detector of voice has no task of its own; Whisper loads it for vad_filter";
            Err(LoadError::unsupported(files.folder(), detail))
        },
        need: |files, _, _| Silero::need(files),
    },
];

/// A family of BERT's as a maker of embeddings; the checkpoint says what it differs in.
const fn embedder(name: &'static str, golden: &'static str) -> Architecture {
    Architecture {
        name,
        golden,
        load: |files, device, fit| {
            let (companion, model) = bert::load(files, device, fit.quality)?;
            Ok(Lane::batch::<Embed, _>(companion, model))
        },
        need: bert::need,
    }
}

/// The same as a judge of pairs.
const fn reranker(name: &'static str, golden: &'static str) -> Architecture {
    Architecture {
        name,
        golden,
        load: |files, device, fit| {
            let (companion, model) = bert::load_reranker(files, device, fit.quality)?;
            Ok(Lane::batch::<Rerank, _>(companion, model))
        },
        need: bert::need,
    }
}

/// A maker of embeddings in the layout of sentence-transformers.
const fn sentences(name: &'static str, golden: &'static str) -> Architecture {
    Architecture {
        name,
        golden,
        load: |files, _, fit| {
            let (companion, model) = sentence::load(files, fit)?;
            Ok(Lane::batch::<Embed, _>(companion, model))
        },
        need: |files, _, fit| sentence::need(files, fit),
    }
}

/// A family of the one decoder; the checkpoint says what it differs in.
const fn decoder(name: &'static str, golden: &'static str) -> Architecture {
    Architecture {
        name,
        golden,
        load: |files, device, fit| {
            let (companion, model) = decoder::load_within(files, device, fit)?;
            Ok(Lane::steps(companion, model))
        },
        need: decoder::need,
    }
}

/// Loads a checkpoint of a named architecture.
///
/// # Errors
/// [`LoadError`] for a name that is not in the table, and for whatever is wrong with the files.
pub fn load(
    architecture: &str,
    files: &Files,
    device: &Device,
    fit: Fit,
) -> Result<Lane, LoadError> {
    (row(architecture, files)?.load)(files, device, fit)
}

/// The sets of weights, by name, that a model of an architecture may ask for while it serves ([`Files::of`]).
pub fn others(architecture: &str) -> &'static [&'static str] {
    match architecture {
        "whisper" => &[whisper::VOICE_WEIGHTS],
        _ => &[],
    }
}

/// What a checkpoint will take of the device's memory. Reads its configuration and the headers of
/// its files, not its weights.
///
/// # Errors
/// As [`load`], as far as configuration and headers show it.
pub fn need(
    architecture: &str,
    files: &Files,
    device: &Device,
    fit: Fit,
) -> Result<Need, LoadError> {
    (row(architecture, files)?.need)(files, device, fit)
}

fn row(architecture: &str, files: &Files) -> Result<&'static Architecture, LoadError> {
    ARCHITECTURES
        .iter()
        .find(|row| row.name == architecture)
        .ok_or_else(|| LoadError::Unsupported {
            file: files.folder().to_path_buf(),
            detail: format!("this build has no architecture {architecture:?}"),
        })
}
