//! The adapters of one step's rows, and the one place where they meet tensors.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, Tensor};
use engine::model::{SequenceId, Step};

use super::{Adapter, Module};
use crate::floats::{on_cpu, with_floats};

/// Which rows of a step have which adapter.
#[derive(Debug)]
pub(crate) struct Deltas(Vec<(Range<usize>, Arc<Adapter>)>);

impl Deltas {
    /// Those of the step's sequences; `None` where none has one.
    pub(crate) fn of(step: &Step, adapters: &HashMap<SequenceId, Arc<Adapter>>) -> Option<Self> {
        let spans = step.spans.iter().filter_map(|span| {
            let adapter = adapters.get(&span.sequence)?;
            Some((span.rows.clone(), Arc::clone(adapter)))
        });
        let spans: Vec<_> = spans.collect();
        (!spans.is_empty()).then_some(Self(spans))
    }

    /// Adds to a projection's `output`, `[rows, out]`, what the rows' adapters make of its `input`, `[rows, in]`.
    pub(crate) fn add(&self, place: (usize, Module), input: &[f32], output: &mut [f32]) {
        for (rows, adapter) in &self.0 {
            adapter.add(place, rows.clone(), input, output);
        }
    }
}

/// The same in one layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lora<'a> {
    deltas: Option<&'a Deltas>,
    layer: usize,
    /// The first of the step's rows that it is asked about, and the first that it is not.
    rows: (usize, usize),
}

impl<'a> Lora<'a> {
    /// What is added where nothing is.
    pub(crate) const NONE: Lora<'static> = Lora {
        deltas: None,
        layer: 0,
        rows: (0, usize::MAX),
    };

    pub(crate) fn of(deltas: Option<&'a Deltas>, layer: usize) -> Self {
        Self {
            deltas,
            layer,
            ..Lora::NONE
        }
    }

    /// The same for some of the step's rows.
    pub(crate) fn of_rows(self, rows: &Range<usize>) -> Self {
        Self {
            rows: (rows.start, rows.end),
            ..self
        }
    }

    /// Adds to a projection's `output`, `[rows, out]`, what the adapters make of its `input`, `[rows, in]`.
    pub(crate) fn add_rows(self, module: Module, input: &[f32], output: &mut [f32]) {
        let (first, end) = self.rows;
        for (rows, adapter) in self.deltas.iter().flat_map(|deltas| &deltas.0) {
            let rows = rows.start.max(first)..rows.end.min(end);
            if !rows.is_empty() {
                let rows = rows.start - first..rows.end - first;
                adapter.add((self.layer, module), rows, input, output);
            }
        }
    }

    /// A projection's output, which nobody else holds, with what is added to it. Elsewhere than on the CPU the sum is made
    /// there and brought to the device.
    pub(crate) fn add(self, module: Module, input: &Tensor, output: Tensor) -> Result<Tensor> {
        let Some(deltas) = self.deltas else {
            return Ok(output);
        };
        let place = (self.layer, module);
        if on_cpu(input) && on_cpu(&output) && output.is_contiguous() {
            output.inplace_op2(&input.contiguous()?, &Addition { deltas, place })?;
            return Ok(output);
        }
        let on_host = input.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let mut sum = vec![0.0; output.elem_count()];
        with_floats([&on_host], |[input]| {
            deltas.add(place, input, &mut sum);
            Ok(())
        })?;
        let sum = Tensor::from_vec(sum, output.shape(), &Device::Cpu)?;
        output + sum.to_device(input.device())?.to_dtype(input.dtype())?
    }

    /// The same of queries, keys and values.
    pub(crate) fn add_to_all(self, input: &Tensor, outputs: [Tensor; 3]) -> Result<[Tensor; 3]> {
        let [queries, keys, values] = outputs;
        Ok([
            self.add(Module::Query, input, queries)?,
            self.add(Module::Key, input, keys)?,
            self.add(Module::Value, input, values)?,
        ])
    }
}

struct Addition<'a> {
    deltas: &'a Deltas,
    place: (usize, Module),
}

impl InplaceOp2 for Addition<'_> {
    fn name(&self) -> &'static str {
        "adapters"
    }

    fn cpu_fwd(
        &self,
        output: &mut CpuStorage,
        output_layout: &Layout,
        input: &CpuStorage,
        input_layout: &Layout,
    ) -> Result<()> {
        let (
            CpuStorage::F32(output),
            Some((start, end)),
            CpuStorage::F32(input),
            Some((first, last)),
        ) = (
            output,
            output_layout.contiguous_offsets(),
            input,
            input_layout.contiguous_offsets(),
        )
        else {
            candle_core::bail!("an adapter for rows that are not float32 in order");
        };
        let input = &input[first..last];
        self.deltas.add(self.place, input, &mut output[start..end]);
        Ok(())
    }
}
