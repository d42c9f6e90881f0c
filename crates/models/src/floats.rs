//! The kernels of the CPU on tensors of float32.

use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Result, Storage, Tensor};
use kernels::{Backend, Gate, gated};

/// Whether the kernels can take a tensor.
pub(crate) fn on_cpu(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// Hands out the numbers of float32 tensors on the CPU.
pub(crate) fn with_floats<const N: usize, T>(
    tensors: [&Tensor; N],
    work: impl FnOnce([&[f32]; N]) -> Result<T>,
) -> Result<T> {
    let tensors = tensors
        .iter()
        .map(|tensor| tensor.contiguous())
        .collect::<Result<Vec<_>>>()?;
    let held: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
    let mut slices: [&[f32]; N] = [&[]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&held) {
        let (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) =
            (&**storage, layout.contiguous_offsets())
        else {
            candle_core::bail!("rows that are not float32 on the CPU");
        };
        *slice = &values[start..end];
    }
    work(slices)
}

/// `rows` and others; `rows` are held by nobody else.
pub(crate) fn added(rows: Tensor, others: &Tensor) -> Result<Tensor> {
    if !(on_cpu(&rows) && rows.is_contiguous() && others.is_contiguous()) {
        return rows + others;
    }
    rows.inplace_op2(others, &Added)?;
    Ok(rows)
}

/// Adds rows to others. Candle would share that among threads of its own, which spin.
struct Added;

/// Opens a gate over rows that nobody else holds: the gate alone, or times other rows.
pub(crate) struct Gated(pub(crate) Gate);

fn values<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets())
    else {
        candle_core::bail!("a gate over rows that are not float32 in order");
    };
    Ok(&mut values[start..end])
}

impl InplaceOp1 for Gated {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        gated(self.0, values(storage, layout)?, None, Backend::best());
        Ok(())
    }
}

fn others<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => candle_core::bail!("other rows that are not float32 in order"),
    }
}

impl InplaceOp2 for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(
        &self,
        storage: &mut CpuStorage,
        layout: &Layout,
        by: &CpuStorage,
        by_layout: &Layout,
    ) -> Result<()> {
        let (values, by) = (values(storage, layout)?, others(by, by_layout)?);
        gated(self.0, values, Some(by), Backend::best());
        Ok(())
    }
}

impl InplaceOp2 for Added {
    fn name(&self) -> &'static str {
        "added"
    }

    fn cpu_fwd(
        &self,
        storage: &mut CpuStorage,
        layout: &Layout,
        new: &CpuStorage,
        new_layout: &Layout,
    ) -> Result<()> {
        let new = others(new, new_layout)?;
        for (value, new) in values(storage, layout)?.iter_mut().zip(new) {
            *value += new;
        }
        Ok(())
    }
}
