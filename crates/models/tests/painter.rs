//! Pictures that share passes are those that each would be alone.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

mod common;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device};
use common::{copy, golden};
use engine::model::{Said, SequenceId, SessionCompanion, SessionModel};
use image::{ImageFormat, Rgb, RgbImage};
use models::image::{PaintCompanion, Painter, Pipeline, load_flux, load_stable};
use models::{Files, Fit};
use tasks::{Failure, PaintEvent, PaintRequest, Picture};
use tempfile::TempDir;

/// What came of a picture.
#[derive(Debug, PartialEq)]
enum Outcome {
    Picture(Picture),
    Failed(Failure),
}

/// A painter, driven as the engine does.
struct Studio<P: Pipeline> {
    companion: Arc<PaintCompanion>,
    painter: Painter<P>,
    /// Steps of each live picture.
    steps: BTreeMap<SequenceId, u32>,
    outcomes: BTreeMap<SequenceId, Outcome>,
    /// The pictures of each pass.
    passes: Vec<usize>,
}

impl<P: Pipeline> Studio<P> {
    fn new((companion, painter): (Arc<PaintCompanion>, Painter<P>), together: usize) -> Self {
        Self {
            companion,
            painter: painter.with_together(together),
            steps: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            passes: Vec::new(),
        }
    }

    fn order(&mut self, id: u64, request: &PaintRequest) {
        let order = self.companion.prepare(request.clone()).unwrap();
        self.painter.begin(SequenceId(id), order).unwrap();
        self.steps.insert(SequenceId(id), 0);
    }

    /// Its reader leaves.
    fn cancel(&mut self, id: u64) {
        self.painter.end(SequenceId(id));
        self.steps.remove(&SequenceId(id)).unwrap();
    }

    fn turn(&mut self) {
        let mut pass = 0;
        for (id, said) in self.painter.turn() {
            let steps = self.steps.get_mut(&id).unwrap();
            match said {
                Said::Event(PaintEvent::Step(step)) => {
                    *steps += 1;
                    assert_eq!(step, *steps, "steps are told in order");
                    pass += 1;
                }
                Said::Event(PaintEvent::Done(picture)) => {
                    self.outcomes.insert(id, Outcome::Picture(picture));
                }
                Said::Failed(failure) => {
                    self.outcomes.insert(id, Outcome::Failed(failure));
                    self.cancel(id.0);
                }
                Said::End => self.cancel(id.0),
            }
        }
        if pass > 0 {
            self.passes.push(pass);
        }
    }

    fn finish(&mut self) {
        while !self.steps.is_empty() {
            self.turn();
        }
    }

    fn picture(&mut self, id: u64) -> Picture {
        match self.outcomes.remove(&SequenceId(id)) {
            Some(Outcome::Picture(picture)) => picture,
            other => panic!("{id}: {other:?}"),
        }
    }
}

fn request(seed: u64, steps: u32) -> PaintRequest {
    PaintRequest {
        prompt: format!("a fox and {seed} trees"),
        negative_prompt: None,
        width: Some(64),
        height: Some(64),
        steps,
        guidance: None,
        strength: 1.0,
        seed: Some(seed),
        images: Vec::new(),
        mask: None,
    }
}

/// A PNG file with something to see.
fn png(width: u32, height: u32, paint: fn(u32, u32) -> u8) -> Vec<u8> {
    let picture = RgbImage::from_fn(width, height, |x, y| {
        let grey = paint(x, y);
        Rgb([grey, 255 - grey, grey])
    });
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

fn given() -> Vec<u8> {
    png(64, 64, |x, y| (3 * x + y) as u8)
}

fn mask() -> Vec<u8> {
    png(64, 64, |x, _| if x < 32 { 255 } else { 0 })
}

/// Pictures that differ in all that pictures of one pass may differ in.
fn several() -> Vec<PaintRequest> {
    vec![
        PaintRequest {
            negative_prompt: Some("a moon".into()),
            ..request(1, 4)
        },
        PaintRequest {
            guidance: Some(2.5),
            ..request(2, 7)
        },
        PaintRequest {
            guidance: Some(1.0), // in one pass, not two
            ..request(3, 2)
        },
        PaintRequest {
            images: vec![given()],
            strength: 0.5,
            ..request(4, 6)
        },
        PaintRequest {
            images: vec![given()],
            mask: Some(mask()),
            strength: 0.7,
            ..request(5, 5)
        },
    ]
}

/// Paints each alone, then all side by side, up to `together` in a pass, one more of which is cancelled; gives the
/// pictures of both.
fn both_ways<P: Pipeline>(
    load: impl Fn() -> (Arc<PaintCompanion>, Painter<P>),
    requests: &[PaintRequest],
    together: usize,
) -> Vec<(Picture, Picture)> {
    let mut alone = Studio::new(load(), 1);
    let mut shared = Studio::new(load(), together);
    assert_eq!(alone.painter.sessions(), 1, "one after the other");
    assert!(shared.painter.sessions() > requests.len());
    for (id, request) in (0..).zip(requests) {
        alone.order(id, request);
        alone.finish();
        shared.order(id, request);
        shared.turn();
        shared.turn();
    }
    shared.order(99, &requests[0]);
    for _ in 0..4 {
        shared.turn();
    }
    shared.cancel(99);
    shared.finish();
    assert!(alone.passes.iter().all(|&pictures| pictures == 1));
    let most = shared.passes.iter().max().unwrap();
    assert!((2..=together).contains(most), "passes are shared: {most}");
    (0..requests.len() as u64)
        .map(|id| (alone.picture(id), shared.picture(id)))
        .collect()
}

/// A folder whose layers are kept in half precision, so that this crate's own kernels multiply them.
fn halved(folders: &[&str]) -> TempDir {
    let copied = tempfile::tempdir().unwrap();
    for folder in folders {
        copy(&golden(folder), copied.path());
    }
    for part in std::fs::read_dir(copied.path()).unwrap() {
        let part = part.unwrap().path();
        if part.is_dir() && !part.ends_with("vae") {
            halve(&part);
        }
    }
    copied
}

fn halve(part: &Path) {
    for file in std::fs::read_dir(part).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_none_or(|word| word != "safetensors") {
            continue;
        }
        let whole = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
        std::fs::remove_file(&file).unwrap();
        let half = whole
            .into_iter()
            .map(|(name, tensor)| (name, tensor.to_dtype(DType::F16).unwrap()));
        let half: std::collections::HashMap<_, _> = half.collect();
        candle_core::safetensors::save(&half, &file).unwrap();
    }
}

fn set_scheduler(folder: &Path, class: &str) {
    let file = folder.join("model_index.json");
    let mut index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    index["scheduler"] = serde_json::json!(["diffusers", format!("{class}Scheduler")]);
    std::fs::write(&file, index.to_string()).unwrap();
}

fn assert_same(pairs: &[(Picture, Picture)], name: &str) {
    for (at, (alone, shared)) in pairs.iter().enumerate() {
        assert!(
            alone == shared,
            "{name}: picture {at} depends on its neighbours"
        );
        let others = pairs[..at].iter().map(|(other, _)| other);
        assert!(others.into_iter().all(|other| other.rgb != alone.rgb));
    }
}

#[test]
fn on_the_cpu_neighbours_change_no_bit() {
    let folder = halved(&["tiny-sd15"]);
    let load = |files: &Files| load_stable(files, &Device::Cpu, Fit::default()).unwrap();
    let files = Files::new(folder.path().to_path_buf());
    for class in [
        "PNDM",
        "DDIM",
        "EulerDiscrete",
        "EulerAncestralDiscrete",
        "DPMSolverMultistep",
        "LCM",
    ] {
        set_scheduler(folder.path(), class);
        assert_same(&both_ways(|| load(&files), &several(), 3), class);
    }
    for folders in [
        &["tiny-sdxl"][..],
        &["tiny-sd15", "tiny-sd15-lcm"],
        &["tiny-sd15", "tiny-sd15-inpainting"],
    ] {
        let folder = halved(folders);
        let files = Files::new(folder.path().to_path_buf());
        let mut requests = several();
        if folders.contains(&"tiny-sd15-inpainting") {
            for request in &mut requests {
                request.images = vec![given()];
                request.mask = Some(mask());
            }
        }
        let pairs = both_ways(|| load(&files), &requests, 4);
        assert_same(&pairs, &folders.concat());
    }
    let folder = halved(&["tiny-flux-schnell"]);
    let files = Files::new(folder.path().to_path_buf());
    let load = || load_flux(&files, &Device::Cpu, Fit::default()).unwrap();
    let requests = [(1, 4), (2, 1), (3, 3)].map(|(seed, steps)| request(seed, steps));
    assert_same(&both_ways(load, &requests, 2), "flux");
}

/// Weights of single precision are multiplied by others' products, which may round a row by its neighbours; so
/// may those of a GPU.
#[test]
fn on_any_device_neighbours_change_next_to_nothing() {
    let near = |pairs: &[(Picture, Picture)]| {
        for (alone, shared) in pairs {
            assert_eq!((alone.width, alone.height), (shared.width, shared.height));
            let pairs = alone.rgb.iter().zip(&shared.rgb);
            let off = pairs.map(|(a, b)| a.abs_diff(*b)).max();
            assert!(off <= Some(1), "off by {off:?} of 255");
        }
    };
    for folder in ["tiny-sd15", "tiny-sdxl"] {
        let files = Files::new(golden(folder));
        let load = || load_stable(&files, &common::device(), Fit::default()).unwrap();
        near(&both_ways(load, &several(), 4));
    }
    let files = Files::new(golden("tiny-flux-schnell"));
    let load = || load_flux(&files, &common::device(), Fit::default()).unwrap();
    near(&both_ways(load, &[request(1, 4), request(2, 3)], 2));
}

#[test]
fn sizes_take_turns_and_what_cannot_begin_fails_alone() {
    let folder = halved(&["tiny-sd15"]);
    let files = Files::new(folder.path().to_path_buf());
    let load = || load_stable(&files, &Device::Cpu, Fit::default()).unwrap();
    let mut studio = Studio::new(load(), 4);
    let wide = PaintRequest {
        width: Some(96),
        ..request(7, 3)
    };
    let broken = PaintRequest {
        images: vec![given()[..60].to_vec()],
        ..request(8, 3)
    };
    studio.order(1, &request(1, 3));
    studio.order(2, &wide);
    studio.order(3, &broken);
    studio.order(4, &request(2, 3));
    studio.finish();
    assert_eq!(
        studio.passes,
        [2, 1, 2, 1, 2, 1, 2, 1],
        "two of a size, and the wide one; this sampler takes its second step twice"
    );
    let failed = studio.outcomes.remove(&SequenceId(3));
    let Some(Outcome::Failed(Failure::BadInput(text))) = failed else {
        panic!("{failed:?}");
    };
    assert!(text.contains("image"), "{text}");
    assert_eq!(studio.picture(2).width, 96);
    for (id, seed) in [(1, 1), (4, 2)] {
        let mut alone = Studio::new(load(), 1);
        alone.order(id, &request(seed, 3));
        alone.finish();
        assert!(studio.picture(id) == alone.picture(id), "{id}");
    }
}

/// Where memory is short a large picture that is given is read by tiles, and one of them is as the whole.
#[test]
fn a_large_picture_is_given_where_memory_is_short() {
    let folder = halved(&["tiny-sd15"]);
    let files = Files::new(folder.path().to_path_buf());
    let large = |width| PaintRequest {
        width: Some(width),
        height: Some(512),
        images: vec![png(width, 512, |x, y| (x + 2 * y) as u8)],
        strength: 0.0, // no step: the picture comes back as the autoencoder has it
        ..request(1, 2)
    };
    let load = |memory_bytes| {
        let fit = Fit {
            memory_bytes,
            ..Fit::default()
        };
        load_stable(&files, &Device::Cpu, fit).unwrap()
    };
    let painted = |memory_bytes, request: &PaintRequest| {
        let mut studio = Studio::new(load(memory_bytes), 1);
        studio.order(1, request);
        studio.finish();
        studio.picture(1)
    };
    let wide = large(1024);
    // The least memory in which it is taken.
    let takes = |bytes: &u64| load(Some(*bytes)).0.prepare(wide.clone()).is_ok();
    let least = (0..200).map(|step| step * 5_000_000).find(takes).unwrap();
    assert!(least > 0, "it is refused in less");
    let small = large(64);
    assert!(painted(Some(least), &small) == painted(None, &small));
    let (tiled, whole) = (painted(Some(least), &wide), painted(None, &wide));
    let decibels = |shown: &[u8], wanted: &[u8]| {
        let pairs = shown.iter().zip(wanted);
        let squares: f64 = pairs.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
        20.0 * 255f64.log10() - 10.0 * (squares / wanted.len() as f64).max(1e-20).log10()
    };
    let likeness = decibels(&tiled.rgb, &whole.rgb);
    println!("{likeness} dB");
    assert!(tiled != whole, "it was read at once");
    assert!(likeness > 20.0, "{likeness} dB");
}

/// What is wrong with a request is told before it is queued.
#[test]
fn what_cannot_be_painted_is_refused_by_its_name() {
    let files = Files::new(golden("tiny-sd15"));
    let (companion, _) = load_stable(&files, &Device::Cpu, Fit::default()).unwrap();
    let files = Files::new(golden("tiny-flux-schnell"));
    let (plain, _) = load_flux(&files, &Device::Cpu, Fit::default()).unwrap();
    for (companion, request, word) in [
        (
            &companion,
            PaintRequest {
                width: Some(60),
                ..request(1, 1)
            },
            "width",
        ),
        (
            &companion,
            PaintRequest {
                height: Some(8192),
                ..request(1, 1)
            },
            "height",
        ),
        (&companion, request(1, 0), "steps"),
        (&companion, request(1, 201), "steps"),
        (
            &companion,
            PaintRequest {
                guidance: Some(f32::NAN),
                ..request(1, 1)
            },
            "guidance",
        ),
        (
            &companion,
            PaintRequest {
                mask: Some(mask()),
                ..request(1, 1)
            },
            "mask",
        ),
        (
            &companion,
            PaintRequest {
                images: vec![given(); 2],
                ..request(1, 1)
            },
            "2 images",
        ),
        (
            &plain,
            PaintRequest {
                guidance: Some(2.0),
                ..request(1, 1)
            },
            "guidance",
        ),
        (
            &plain,
            PaintRequest {
                images: vec![given()],
                ..request(1, 1)
            },
            "image",
        ),
    ] {
        let refusal = companion.prepare(request).unwrap_err().to_string();
        assert!(refusal.contains(word), "{word}: {refusal}");
    }
}
