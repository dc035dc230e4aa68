//! Hook sites: the named places of the forward pass where a value can be read or changed.
//!
//! The names at the edges are TransformerLens's (`blocks.3.hook_resid_mid`, `ln_final.hook_scale`); inside, a site is a
//! value. Which sites a model has follows from its description (`circuit-model`), not from this list.

use crate::Layer;
use std::{fmt, str::FromStr};

macro_rules! layer_sites {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A site within one block, without the number of the block.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum LayerSite { $($(#[$doc])* $variant,)* }

        impl LayerSite {
            /// All of them, in the order in which a block visits them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name within a block, as in TransformerLens and in the `config.yaml` of transcoder sets.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

layer_sites! {
    /// `[batch, pos, d_model]` the residual stream before the block.
    ResidPre = "hook_resid_pre",
    /// `[batch, pos, 1]` the denominator of the norm before attention.
    AttnNormScale = "ln1.hook_scale",
    /// `[batch, pos, d_model]` the stream divided by that denominator, before the gain of an RMSNorm, but after gain and bias of a
    /// LayerNorm, as in TransformerLens.
    AttnNormalized = "ln1.hook_normalized",
    /// `[batch, pos, d_model]` what the projections to queries, keys and values read.
    AttnIn = "attn.hook_in",
    /// `[batch, pos, head, d_head]` queries, before norm and rotation.
    Q = "attn.hook_q",
    /// `[batch, pos, kv_head, d_head]` keys, before norm and rotation.
    K = "attn.hook_k",
    /// `[batch, pos, kv_head, d_head]` values.
    V = "attn.hook_v",
    /// `[batch, pos, head, 1]` the denominator of the query norm.
    QNormScale = "attn.q_norm.hook_scale",
    /// `[batch, pos, kv_head, 1]` the denominator of the key norm.
    KNormScale = "attn.k_norm.hook_scale",
    /// `[batch, pos, head, d_head]` queries as they meet the keys: after norm and rotation.
    RotQ = "attn.hook_rot_q",
    /// `[batch, pos, kv_head, d_head]` keys after norm and rotation.
    RotK = "attn.hook_rot_k",
    /// `[batch, head, query, key]` scores after scale, cap and mask.
    AttnScores = "attn.hook_attn_scores",
    /// `[batch, head, query, key]` the attention pattern.
    Pattern = "attn.hook_pattern",
    /// `[batch, pos, head, d_head]` values mixed by the pattern.
    Z = "attn.hook_z",
    /// `[batch, pos, d_model]` output of attention before any norm that follows it.
    AttnRawOut = "attn.hook_out",
    /// `[batch, pos, 1]` the denominator of the norm after attention.
    AttnPostScale = "ln1_post.hook_scale",
    /// `[batch, pos, d_model]` what attention adds to the stream.
    AttnOut = "hook_attn_out",
    /// `[batch, pos, d_model]` the stream between attention and MLP, before any norm.
    ResidMid = "hook_resid_mid",
    /// `[batch, pos, 1]` the denominator of the norm before the MLP.
    MlpNormScale = "ln2.hook_scale",
    /// `[batch, pos, d_model]` the stream divided by that denominator, before the gain of an RMSNorm, but after gain and bias of a
    /// LayerNorm, as in TransformerLens.
    MlpNormalized = "ln2.hook_normalized",
    /// `[batch, pos, d_model]` what the MLP reads: after gain and bias.
    MlpIn = "mlp.hook_in",
    /// `[batch, pos, d_mlp]` what enters the activation function.
    MlpPre = "mlp.hook_pre",
    /// `[batch, pos, d_mlp]` what leaves it (for a gated MLP, times the linear half).
    MlpPost = "mlp.hook_post",
    /// `[batch, pos, d_model]` output of the MLP before any norm that follows it.
    MlpRawOut = "mlp.hook_out",
    /// `[batch, pos, 1]` the denominator of the norm after the MLP.
    MlpPostScale = "ln2_post.hook_scale",
    /// `[batch, pos, d_model]` what the MLP adds to the stream.
    MlpOut = "hook_mlp_out",
    /// `[batch, pos, d_model]` the stream after the block.
    ResidPost = "hook_resid_post",
}

/// A place of the forward pass where a value can be read or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// `[batch, pos, d_model]` what the token embedding adds (Gemma: times √d_model).
    Embed,
    /// `[batch, pos, d_model]` what the position embedding adds, where positions are learned.
    PosEmbed,
    /// A site of one block.
    Block(Layer, LayerSite),
    /// `[batch, pos, 1]` the denominator of the last norm.
    FinalNormScale,
    /// `[batch, pos, d_model]` the last stream divided by it, before the gain of an RMSNorm, but after gain and bias of a LayerNorm, as in
    /// TransformerLens.
    FinalNormalized,
    /// `[batch, pos, d_model]` what the unembedding reads.
    UnembedIn,
    /// `[batch, pos, vocab]` logits before any soft cap.
    LogitsBeforeCap,
}

impl fmt::Display for LayerSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embed => f.write_str("hook_embed"),
            Self::PosEmbed => f.write_str("hook_pos_embed"),
            Self::Block(layer, site) => write!(f, "blocks.{layer}.{site}"),
            Self::FinalNormScale => f.write_str("ln_final.hook_scale"),
            Self::FinalNormalized => f.write_str("ln_final.hook_normalized"),
            Self::UnembedIn => f.write_str("unembed.hook_in"),
            Self::LogitsBeforeCap => f.write_str("unembed.hook_out"),
        }
    }
}

/// A name that is no site.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown hook `{name}`; known: {known}")]
pub struct SiteError {
    name: String,
    known: String,
}

impl SiteError {
    fn new(name: &str, prefix: &str) -> Self {
        let known: Vec<_> = LayerSite::ALL.iter().map(|s| format!("{prefix}{s}")).collect();
        Self { name: name.into(), known: known.join(", ") }
    }
}

impl FromStr for LayerSite {
    type Err = SiteError;

    fn from_str(name: &str) -> Result<Self, SiteError> {
        Self::ALL.iter().copied().find(|s| s.name() == name).ok_or_else(|| SiteError::new(name, ""))
    }
}

impl FromStr for Site {
    type Err = SiteError;

    fn from_str(name: &str) -> Result<Self, SiteError> {
        for site in [
            Self::Embed,
            Self::PosEmbed,
            Self::FinalNormScale,
            Self::FinalNormalized,
            Self::UnembedIn,
            Self::LogitsBeforeCap,
        ] {
            if site.to_string() == name {
                return Ok(site);
            }
        }
        let block = name.strip_prefix("blocks.").and_then(|rest| {
            let (layer, site) = rest.split_once('.')?;
            Some(Self::Block(Layer(layer.parse().ok()?), site.parse().ok()?))
        });
        block.ok_or_else(|| SiteError::new(name, "blocks.N."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let mut sites = vec![
            Site::Embed,
            Site::PosEmbed,
            Site::FinalNormScale,
            Site::FinalNormalized,
            Site::UnembedIn,
            Site::LogitsBeforeCap,
        ];
        sites.extend(LayerSite::ALL.iter().map(|&s| Site::Block(Layer(11), s)));
        for site in sites {
            assert_eq!(site.to_string().parse(), Ok(site));
        }
        assert_eq!("blocks.3.hook_resid_mid".parse(), Ok(Site::Block(Layer(3), LayerSite::ResidMid)));
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let error = "blocks.3.hook_resid_middle".parse::<Site>().unwrap_err().to_string();
        assert!(error.contains("hook_resid_middle") && error.contains("blocks.N.hook_resid_mid"), "{error}");
        assert!("blocks.x.hook_resid_mid".parse::<Site>().is_err());
    }
}
