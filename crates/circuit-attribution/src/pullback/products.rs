//! Products of factors in one type, summed up in another.
//!
//! Gradients and sums are always carried in the wide type. With
//! [`circuit_replacement::Products::Bfloat16`] what is rounded are the two factors of products with weights and with what
//! sources write. The pattern's product between them takes a GPU in bfloat16, too; on a CPU it is small, and stays wide. Not
//! here: which products there are.

use crate::AttributionError;
use circuit_replacement::LocalReplacement;
use std::ops::Range;
use tch::{Device, Kind, Tensor};

/// The type of factors.
pub(super) fn kind(replacement: &LocalReplacement<'_>) -> Kind {
    replacement.cuts().products.kind(replacement.model().wide_kind())
}

/// The type of the pattern, and of what its product takes and makes.
pub(super) fn between(replacement: &LocalReplacement<'_>) -> Kind {
    match replacement.model().device() {
        Device::Cpu => replacement.model().wide_kind(),
        _ => kind(replacement),
    }
}

/// `out = a b` for factors of one type.
pub(super) fn product(out: &Tensor, a: &Tensor, b: &Tensor) -> Result<(), AttributionError> {
    let mut out = out.shallow_clone();
    if a.kind() == out.kind() {
        let _ = a.f_mm_out(&out, b)?;
    } else if matches!(out.device(), Device::Cuda(_)) && out.kind() == Kind::Float {
        // Straight into the wide type, not rounded once more on the way.
        let _ = a.f_mm_dtype_out(&out, b, Kind::Float)?;
    } else if !narrow_product(&mut out, a, b, false)? {
        out.f_copy_(&a.f_mm(b)?)?;
    }
    Ok(())
}

/// `sum += a b` for factors of one type; the sum is wide.
pub(super) fn add_product(sum: &Tensor, a: &Tensor, b: &Tensor) -> Result<(), AttributionError> {
    let mut sum = sum.shallow_clone();
    if a.kind() == sum.kind() {
        let _ = sum.f_addmm_(a, b)?;
    } else if matches!(sum.device(), Device::Cuda(_)) && sum.kind() == Kind::Float {
        // Straight into the sum, not rounded once more on the way.
        let _ = sum.f_addmm_dtype_out(&sum, a, b, Kind::Float)?;
    } else if !narrow_product(&mut sum, a, b, true)? {
        let _ = sum.f_add_(&a.f_mm(b)?)?;
    }
    Ok(())
}

/// `out = a b`, or `out += a b`, for narrow factors on a CPU, summed up wide; says whether that was possible.
fn narrow_product(out: &mut Tensor, a: &Tensor, b: &Tensor, add: bool) -> Result<bool, AttributionError> {
    Ok(circuit_torch::products_of_slices(out, &a.unsqueeze(1), &[b], &[0], add)?)
}

/// `sums[:, group_p] = g[:, p] b_p`, or `+=`, for factors `g [row, pos, d]` and `b_p [d, n]` of one type.
pub(super) fn products_by_position(
    sums: &Tensor,
    groups: &[Range<usize>],
    g: &Tensor,
    b: &[Tensor],
    add: bool,
) -> Result<(), AttributionError> {
    let all: Vec<&Tensor> = b.iter().collect();
    let first: Vec<i64> = groups.iter().map(|group| group.start as i64).collect();
    if circuit_torch::products_of_slices(&mut sums.shallow_clone(), g, &all, &first, add)? {
        return Ok(());
    }
    let product = if add { add_product } else { product };
    (0..).zip(b.iter().zip(groups)).try_for_each(|(p, (b, group))| {
        product(&sums.narrow(1, group.start as i64, group.len() as i64), &g.select(1, p), b)
    })
}
