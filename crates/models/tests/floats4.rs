//! GPT-OSS's experts in 4-bit floats: the same model as with the same weights in float32.

mod common;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Tensor};
use common::families::converted_where;
use common::{Sequence, argmax, cosine, golden, step};
use models::decoder::Decoder;
use models::device::Device;
use models::{Files, Keep, LoadError, need};
use serde_json::{Value, json};

const EXPERTS: usize = 4;
/// Width of the model and of an expert; a multiple of a group.
const SIZE: usize = 64;
const GROUP: usize = 32;
/// ggml's number of the type.
const MXFP4: u32 = 39;

/// The 4-bit floats by their codes (OCP Microscaling Formats, 2023, table 5).
const FLOATS: [f32; 16] = [
    0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0,
];

/// The matrices `[out, in]` of one projection of all experts.
struct Matrices {
    /// `[experts, out, in]`.
    codes: Vec<u8>,
    /// Exponents, `[experts, out, in / 32]`.
    scales: Vec<u8>,
    rows: usize,
}

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as u32
    }

    fn float(&mut self) -> f32 {
        self.roll() as f32 / f32::from(u16::MAX) / 32768.0 - 0.5
    }
}

impl Matrices {
    fn random(rows: usize, dice: &mut Dice) -> Self {
        let count = EXPERTS * rows * SIZE;
        Self {
            codes: (0..count).map(|_| (dice.roll() % 16) as u8).collect(),
            scales: (0..count / GROUP)
                .map(|_| 121 + (dice.roll() % 4) as u8)
                .collect(),
            rows,
        }
    }

    fn value(&self, index: usize) -> f32 {
        let exponent = f32::from(self.scales[index / GROUP]) - 127.0;
        FLOATS[usize::from(self.codes[index])] * exponent.exp2()
    }

    /// `[experts, in, out]`, as GPT-OSS holds floats.
    fn transposed(&self) -> Tensor {
        let mut flat = Vec::new();
        for expert in 0..EXPERTS {
            for column in 0..SIZE {
                let at = |row: usize| (expert * self.rows + row) * SIZE + column;
                flat.extend((0..self.rows).map(|row| self.value(at(row))));
            }
        }
        Tensor::from_vec(flat, (EXPERTS, SIZE, self.rows), &Device::Cpu).expect("a tensor")
    }

    /// Neighbours in one byte, as GPT-OSS holds them.
    fn neighbours(&self) -> [Tensor; 2] {
        let bytes = self
            .codes
            .chunks_exact(2)
            .map(|pair| pair[0] | pair[1] << 4);
        let groups = SIZE / GROUP;
        let blocks = (EXPERTS, self.rows, groups, GROUP / 2);
        let scales = (EXPERTS, self.rows, groups);
        [
            Tensor::from_vec(bytes.collect::<Vec<u8>>(), blocks, &Device::Cpu).expect("blocks"),
            Tensor::from_vec(self.scales.clone(), scales, &Device::Cpu).expect("scales"),
        ]
    }

    /// llama.cpp's blocks of every `step`-th row from `first`.
    fn blocks(&self, first: usize, step: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for row in (0..EXPERTS * self.rows).skip(first).step_by(step) {
            for group in row * SIZE / GROUP..(row + 1) * SIZE / GROUP {
                let codes = &self.codes[group * GROUP..][..GROUP];
                bytes.push(self.scales[group]);
                bytes.extend((0..GROUP / 2).map(|low| codes[low] | codes[low + 16] << 4));
            }
        }
        bytes
    }
}

/// A tiny GPT-OSS, wider than the golden one, written with experts in floats or in 4-bit floats.
struct Model {
    config: Value,
    tensors: HashMap<String, Tensor>,
    /// Of each layer: gate and up in turns, down.
    experts: Vec<[Matrices; 2]>,
}

impl Model {
    fn new() -> Self {
        let bytes = std::fs::read(golden("tiny-gpt-oss").join("config.json")).expect("a file");
        let mut config: Value = serde_json::from_slice(&bytes).expect("JSON");
        config["hidden_size"] = SIZE.into();
        config["intermediate_size"] = SIZE.into();
        let mut dice = Dice(7);
        let mut tensors = HashMap::new();
        let mut add = |name: &str, shape: &[usize], around: f32, dice: &mut Dice| {
            let count = shape.iter().product();
            let flat: Vec<f32> = (0..count).map(|_| around + dice.float() / 2.0).collect();
            let tensor = Tensor::from_vec(flat, shape, &Device::Cpu).expect("a tensor");
            tensors.insert(name.to_owned(), tensor);
        };
        for (name, shape, around) in [
            ("model.embed_tokens.weight", vec![512, SIZE], 0.0),
            ("lm_head.weight", vec![512, SIZE], 0.0),
            ("model.norm.weight", vec![SIZE], 1.0),
        ] {
            add(name, &shape, around, &mut dice);
        }
        let mut experts = Vec::new();
        for layer in 0..2 {
            for (name, shape, around) in [
                ("input_layernorm.weight", vec![SIZE], 1.0),
                ("post_attention_layernorm.weight", vec![SIZE], 1.0),
                ("self_attn.q_proj.weight", vec![64, SIZE], 0.0),
                ("self_attn.q_proj.bias", vec![64], 0.0),
                ("self_attn.k_proj.weight", vec![32, SIZE], 0.0),
                ("self_attn.k_proj.bias", vec![32], 0.0),
                ("self_attn.v_proj.weight", vec![32, SIZE], 0.0),
                ("self_attn.v_proj.bias", vec![32], 0.0),
                ("self_attn.o_proj.weight", vec![SIZE, 64], 0.0),
                ("self_attn.o_proj.bias", vec![SIZE], 0.0),
                ("self_attn.sinks", vec![4], 0.0),
                ("mlp.router.weight", vec![EXPERTS, SIZE], 0.0),
                ("mlp.router.bias", vec![EXPERTS], 0.0),
                (
                    "mlp.experts.gate_up_proj_bias",
                    vec![EXPERTS, 2 * SIZE],
                    0.0,
                ),
                ("mlp.experts.down_proj_bias", vec![EXPERTS, SIZE], 0.0),
            ] {
                let name = format!("model.layers.{layer}.{name}");
                add(&name, &shape, around, &mut dice);
            }
            experts.push([
                Matrices::random(2 * SIZE, &mut dice),
                Matrices::random(SIZE, &mut dice),
            ]);
        }
        Self {
            config,
            tensors,
            experts,
        }
    }

    fn write(&self, folder: &Path, packed: bool) {
        let (mut config, mut tensors) = (self.config.clone(), self.tensors.clone());
        for (layer, [wide, narrow]) in self.experts.iter().enumerate() {
            for (name, matrices) in [("gate_up_proj", wide), ("down_proj", narrow)] {
                let name = format!("model.layers.{layer}.mlp.experts.{name}");
                if packed {
                    let [blocks, scales] = matrices.neighbours();
                    tensors.insert(format!("{name}_blocks"), blocks);
                    tensors.insert(format!("{name}_scales"), scales);
                } else {
                    tensors.insert(name, matrices.transposed());
                }
            }
        }
        if packed {
            config["quantization_config"] = json!({"quant_method": "mxfp4"});
        }
        std::fs::write(folder.join("config.json"), config.to_string()).expect("written");
        candle_core::safetensors::save(&tensors, folder.join("model.safetensors"))
            .expect("written");
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(golden("tiny-gpt-oss").join(name), folder.join(name)).expect("copied");
        }
    }

    /// The GGUF file of a folder that [`Model::write`] wrote with floats.
    fn write_gguf(&self, floats: &Path, folder: &Path) {
        let name = floats.to_str().expect("UTF-8");
        let mut file = converted_where(name, |name| !name.ends_with("_exps.weight"));
        for (layer, [wide, narrow]) in self.experts.iter().enumerate() {
            for (part, bytes) in [
                ("gate", wide.blocks(0, 2)),
                ("up", wide.blocks(1, 2)),
                ("down", narrow.blocks(0, 1)),
            ] {
                let name = format!("blk.{layer}.ffn_{part}_exps.weight");
                file.raw(&name, &[EXPERTS, SIZE, SIZE], MXFP4, &bytes);
            }
        }
        std::fs::write(folder.join("model.gguf"), file.bytes()).expect("written");
    }
}

#[test]
fn golden_floats_of_four_bits_are_the_same_model() {
    let model = Model::new();
    let folders = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let [floats, packed, gguf] = folders.each_ref().map(tempfile::TempDir::path);
    model.write(floats, false);
    model.write(packed, true);
    model.write_gguf(floats, gguf);
    let mut expected: Vec<Vec<f32>> = Vec::new();
    let tokens: Vec<u32> = (0..24).map(|token| token * 37 % 512).collect();
    let rows = |files: &Files, device: &Device| -> Vec<Vec<f32>> {
        let mut decoder = Decoder::load(files, device).expect("a decoder");
        let mut sequence = Sequence::new(1, &tokens, |block| block as u32);
        (0..tokens.len())
            .map(|_| step(&mut decoder, &mut [(&mut sequence, 1)]).remove(0))
            .collect()
    };
    for folder in [floats, packed, gguf] {
        let rows = rows(&Files::new(folder.to_path_buf()), &common::device());
        if expected.is_empty() {
            expected = rows;
            continue;
        }
        let mut others = 0;
        for (row, expected) in rows.iter().zip(&expected) {
            // Packed weights take inputs of 8 bits. Where two experts are as good, that may choose the other.
            if cosine(row, expected) < 0.9995 {
                assert!(cosine(row, expected) > 0.9, "{}", cosine(row, expected));
                others += 1;
                continue;
            }
            let [best, ours] = [argmax(expected), argmax(row)].map(|at| expected[at as usize]);
            assert!(
                best - ours <= 0.02 * best.abs(),
                "{ours} was chosen for {best}"
            );
        }
        assert!(others <= 1, "{others} of {}", rows.len());
    }
    // Kept on disk as they are packed, each expert is found again.
    let keep = Keep {
        folder: gguf.join("kept"),
        least_bytes: 0,
        room_bytes: u64::MAX,
    };
    let files = Files::new(gguf.to_path_buf());
    let plain = rows(&files, &Device::Cpu);
    let files = files.with_packed(keep);
    for load in ["first", "second"] {
        assert!(rows(&files, &Device::Cpu) == plain, "the {load} load");
        assert!(gguf.join("kept/model.gguf.packed").is_file());
    }
    let weights = |folder: &Path| {
        let files = Files::new(folder.to_path_buf());
        let need = need("gpt-oss", &files, &Device::Cpu, models::Fit::default());
        need.expect("a need").weights_bytes
    };
    assert_eq!(weights(packed), weights(gguf));
    let saved = 2 * EXPERTS * 3 * SIZE * SIZE / 32 * (32 * 4 - 24);
    assert_eq!(weights(floats) - weights(packed), saved as u64);
}

#[test]
fn blocks_that_do_not_fit_are_corrupt() {
    let model = Model::new();
    let folder = tempfile::tempdir().expect("a folder");
    for (name, shape, dtype) in [
        (
            "gate_up_proj_blocks",
            vec![EXPERTS, 2 * SIZE, 2, 15],
            DType::U8,
        ),
        (
            "gate_up_proj_blocks",
            vec![EXPERTS, 2 * SIZE, 2, 16],
            DType::F32,
        ),
        ("down_proj_scales", vec![EXPERTS, SIZE, 3], DType::U8),
    ] {
        model.write(folder.path(), true);
        let path = folder.path().join("model.safetensors");
        let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).expect("tensors");
        let other = Tensor::zeros(shape, dtype, &Device::Cpu).expect("a tensor");
        tensors.insert(format!("model.layers.1.mlp.experts.{name}"), other);
        candle_core::safetensors::save(&tensors, &path).expect("written");
        let files = Files::new(folder.path().to_path_buf());
        let error = Decoder::load(&files, &Device::Cpu).expect_err(name);
        assert!(
            matches!(error, LoadError::Corrupt { .. }),
            "{name}: {error}"
        );
    }
    model.write(folder.path(), true);
    for (key, value) in [("hidden_size", 16), ("intermediate_size", 16)] {
        let mut config = model.config.clone();
        config[key] = value.into();
        config["quantization_config"] = json!({"quant_method": "mxfp4"});
        std::fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
        let files = Files::new(folder.path().to_path_buf());
        assert!(Decoder::load(&files, &Device::Cpu).is_err(), "{key}");
    }
}
