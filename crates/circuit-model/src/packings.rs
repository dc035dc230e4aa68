//! Checkpoints that hold their weights in a form that is not read: recognised by the names and types of their tensors.
//!
//! Only for messages. A checkpoint that can be opened is never refused here: this is asked once one was refused.

use crate::ModelError;
use circuit_torch::Headers;

/// A form of weights that is not read.
struct Packing {
    /// Ends of names that only such checkpoints have.
    ends: &'static [&'static str],
    /// What it is called.
    name: &'static str,
}

const PACKINGS: &[Packing] = &[
    Packing { ends: &[".qweight", ".qzeros", ".g_idx"], name: "GPTQ or AWQ" },
    Packing { ends: &[".weight_scale_inv"], name: "FP8 with a scale for each block" },
    Packing { ends: &[".weight_packed", ".weight_shape"], name: "compressed-tensors" },
    Packing {
        ends: &[".weight_scale", ".input_scale", ".weight_zero_point"],
        name: "FP8 or INT8 (compressed-tensors, ModelOpt)",
    },
    Packing {
        ends: &[".absmax", ".quant_map", ".nested_absmax", ".SCB", ".weight_format"],
        name: "bitsandbytes",
    },
    Packing { ends: &[".codebooks", ".codes"], name: "AQLM" },
    Packing { ends: &[".W_q"], name: "HQQ" },
    Packing { ends: &[".weight._data", ".weight._scale"], name: "Quanto" },
];

/// Starts and ends of names that a tool has put around a model's own.
const WRAPPED: &[(&str, &str, &str)] = &[
    ("_orig_mod.", "a model wrapped by torch.compile", "save the model that is inside (`model._orig_mod`)"),
    ("module.", "a model wrapped by DataParallel", "save the model that is inside (`model.module`)"),
    (
        "base_model.model.",
        "a model wrapped by PEFT",
        "merge the adapter into its base model (`merge_and_unload()`) and save that",
    ),
];

/// What to do about packed weights.
pub(crate) const UNPACKED: &str = "use the checkpoint before quantization, or load this one in Python, dequantize it and save it as BF16 or F32";

/// What the tensors of a checkpoint that was refused show it to be, if they show anything.
pub(crate) fn recognised(headers: &Headers<'_>) -> Option<ModelError> {
    let found = |name: &str, path: &std::path::Path, what: &str, advice: &str| ModelError::Packed {
        path: path.into(),
        tensor: name.into(),
        form: what.into(),
        advice: advice.into(),
    };
    for header in headers.iter() {
        let name = header.name;
        if name.contains(".lora_A") || name.contains(".lora_B") {
            let advice = "merge the adapter into its base model (`merge_and_unload()`) and save that";
            return Some(found(
                name,
                header.path,
                "an adapter (LoRA), which holds changes to a model",
                advice,
            ));
        }
        let packing = PACKINGS.iter().find(|packing| packing.ends.iter().any(|end| name.ends_with(end)));
        if let Some(packing) = packing {
            return Some(found(name, header.path, &format!("weights in {}", packing.name), UNPACKED));
        }
        let twin = |end: &str, other: &str| {
            name.strip_suffix(end).is_some_and(|start| headers.contains(&format!("{start}{other}")))
        };
        if twin(".scales", ".biases") || twin(".biases", ".scales") {
            return Some(found(name, header.path, "weights in MLX's packing", UNPACKED));
        }
        if name.contains(".weight.quant_state.") || name.contains(".quant_state.bitsandbytes") {
            return Some(found(name, header.path, "weights in bitsandbytes", UNPACKED));
        }
    }
    // Less telling than names, so asked last.
    let fp8 =
        headers.iter().find(|header| header.name.ends_with(".weight") && header.dtype.starts_with("F8_"));
    if let Some(header) = fp8 {
        let form = format!("weights in FP8 ({})", header.dtype);
        return Some(found(header.name, header.path, &form, UNPACKED));
    }
    let first = headers.iter().next()?;
    let (_, what, advice) =
        WRAPPED.iter().find(|(start, ..)| headers.iter().all(|header| header.name.starts_with(start)))?;
    Some(found(first.name, first.path, what, advice))
}

/// Whether a key of `config.json` tells that the weights are packed.
pub(crate) fn is_key(key: &str) -> bool {
    ["quantization_config", "quantization", "compression_config"].iter().any(|known| key.starts_with(known))
}
