//! What a step costs on a device, by its roofline: the slower of memory and arithmetic, and what every step costs.

use std::time::Duration;

use engine::model::{BLOCK_TOKENS, Step};

/// A model, as far as time goes.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    /// Parameters that each row is multiplied with.
    pub parameters: f64,
    /// Bytes of its weights.
    pub weight_bytes: f64,
    /// Bytes of keys and values of a position.
    pub cache_bytes: f64,
    /// Multiplications and additions for each position that a row attends to: four for each query value of a layer.
    pub attention_operations: f64,
}

/// SmolLM2-135M with weights of 4 and 8 bits, keys and values in half precision.
pub const SMOLLM2: Shape = Shape {
    name: "SmolLM2-135M",
    parameters: 134.5e6,
    weight_bytes: 96.4e6,
    cache_bytes: 23_040.0,
    attention_operations: 4.0 * 30.0 * 576.0,
};
/// Llama 3.1 8B in 16 bits: 32 layers, 8 key heads of 128.
pub const LLAMA_8B: Shape = Shape {
    name: "Llama-3.1-8B bf16",
    parameters: 8.03e9,
    weight_bytes: 16.1e9,
    cache_bytes: 131_072.0,
    attention_operations: 4.0 * 32.0 * 4096.0,
};
/// The same in 4 bits and a half.
pub const LLAMA_8B_Q4: Shape = Shape {
    name: "Llama-3.1-8B q4",
    weight_bytes: 4.6e9,
    ..LLAMA_8B
};

/// A device with its model. Peaks are those of the vendors' data sheets for dense arithmetic, except for the CPU, whose
/// are measured; what is reached of them is assumed, and the same for all.
#[derive(Debug, Clone, Copy)]
pub struct Device {
    pub name: &'static str,
    pub shape: Shape,
    pub memory_bytes: f64,
    /// Bytes a second.
    pub bandwidth: f64,
    /// Operations a second.
    pub peak: f64,
    /// What a step costs beside: launches, sampling.
    pub step_seconds: f64,
    /// What each sequence of a step costs beside.
    pub sequence_seconds: f64,
    /// Rows in a step, and where prompts are cut.
    pub step_tokens: usize,
    pub cut_tokens: usize,
    pub sequences: usize,
}

/// Parts of the peaks that kernels reach.
const REACHED_BANDWIDTH: f64 = 0.8;
const REACHED_PEAK: f64 = 0.5;
/// The part of the memory that weights and cache may take.
const USABLE: f64 = 0.9;

const GPU: Device = Device {
    name: "",
    shape: LLAMA_8B,
    memory_bytes: 80e9,
    bandwidth: 0.0,
    peak: 0.0,
    step_seconds: 0.002,
    sequence_seconds: 5e-6,
    step_tokens: 2048,
    cut_tokens: 256,
    sequences: 256,
};

/// The devices that are simulated.
pub const DEVICES: [Device; 7] = [
    // One core of a Zen 4 server, as measured: 11.4 to 14.7 GB/s, 448 GOPS of VNNI.
    Device {
        name: "cpu",
        shape: SMOLLM2,
        memory_bytes: 0.3e9,
        bandwidth: 15e9,
        peak: 448e9,
        step_seconds: 0.000_3,
        sequence_seconds: 0.000_2,
        step_tokens: 256,
        cut_tokens: BLOCK_TOKENS,
        sequences: 64,
    },
    Device {
        name: "l4",
        memory_bytes: 24e9,
        bandwidth: 0.3e12,
        peak: 121e12,
        ..GPU
    },
    Device {
        name: "a100",
        bandwidth: 2.0e12,
        peak: 312e12,
        ..GPU
    },
    Device {
        name: "h100",
        bandwidth: 3.35e12,
        peak: 989e12,
        ..GPU
    },
    Device {
        name: "h200",
        memory_bytes: 141e9,
        bandwidth: 4.8e12,
        peak: 989e12,
        ..GPU
    },
    Device {
        name: "m4-max",
        shape: LLAMA_8B_Q4,
        memory_bytes: 36e9,
        bandwidth: 0.546e12,
        peak: 34e12,
        step_tokens: 512,
        cut_tokens: 64,
        sequences: 64,
        ..GPU
    },
    Device {
        name: "m2",
        shape: LLAMA_8B_Q4,
        memory_bytes: 16e9,
        bandwidth: 0.1e12,
        peak: 7e12,
        step_tokens: 256,
        cut_tokens: BLOCK_TOKENS,
        sequences: 64,
        ..GPU
    },
];

impl Device {
    /// Blocks of its KV cache.
    #[must_use]
    pub fn blocks(&self) -> usize {
        let left = self.memory_bytes * USABLE - self.shape.weight_bytes;
        (left / self.shape.cache_bytes) as usize / BLOCK_TOKENS
    }

    /// How long a step takes.
    #[must_use]
    pub fn cost(&self, step: &Step) -> Duration {
        let shape = &self.shape;
        let (mut read, mut seen) = (0_usize, 0_usize);
        for span in &step.spans {
            let rows = span.rows.len();
            read += span.start + rows;
            seen += rows * span.start + rows * (rows + 1) / 2;
        }
        let rows = step.tokens.len() as f64;
        let bytes = shape.weight_bytes + shape.cache_bytes * (read as f64 + rows);
        let operations = 2.0 * shape.parameters * rows + shape.attention_operations * seen as f64;
        let memory = bytes / (self.bandwidth * REACHED_BANDWIDTH);
        let arithmetic = operations / (self.peak * REACHED_PEAK);
        let beside = self.step_seconds + self.sequence_seconds * step.spans.len() as f64;
        Duration::from_secs_f64(memory.max(arithmetic) + beside)
    }
}
