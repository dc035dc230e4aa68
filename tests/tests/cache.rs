//! Reading tokens part by part with a key-value cache is reading them at once: logits and every site, in f64, on the golden models and
//! on random ones of every family. What does not fit a cache is an error and changes nothing.

use crate::random::recipes;
use circuit_index::{LayerSite, Site, TokenId};
use circuit_model::spec::Reach;
use circuit_model::{Hooks, KvCache, Model, ModelError, TokenBatch};
use circuit_tests::{CASES, Expected, fixture};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

const CLOSE: f64 = 1e-9;

/// A visitor that makes the two batch rows differ.
fn two_rows<'a>() -> Hooks<'a> {
    let scales = Tensor::from_slice(&[1.0, 0.5]).view([2, 1, 1]);
    Hooks::new().edit(Site::Embed, move |x| Ok(x * &scales))
}

fn batch(tokens: &[TokenId], model: &Model) -> TokenBatch {
    TokenBatch::new(tokens, model).unwrap().repeat(2)
}

fn assert_same(name: &str, found: &Tensor, wanted: &Tensor) {
    assert_eq!(found.size(), wanted.size(), "{name}");
    // Scores of keys that are not seen are minus infinity in both.
    assert!(found.allclose(wanted, 0.0, CLOSE, false), "{name}: {}", (found - wanted).abs().max());
}

/// Reads `tokens` in parts of the lengths given and then one by one, and compares with one pass over all.
fn check(name: &str, model: &Model, tokens: &[TokenId], parts: &[usize]) {
    let sites = model.spec().sites();
    let mut hooks = two_rows().record(sites.iter().copied());
    let all_logits = model.forward(&batch(tokens, model), &mut hooks).unwrap();
    let all = hooks.finish().unwrap();

    let mut cache = KvCache::new(model);
    let mut by_position = BTreeMap::<Site, Vec<Tensor>>::new();
    let mut lengths = parts.iter().copied().chain(std::iter::repeat(1));
    while cache.n_pos() < tokens.len() {
        let start = cache.n_pos();
        let end = tokens.len().min(start + lengths.next().unwrap());
        let part = |t: &Tensor, dim: i64| t.narrow(dim, start as i64, (end - start) as i64);
        let name = format!("{name}, positions {start}..{end}");

        let mut hooks = two_rows().record(sites.iter().copied());
        let logits =
            model.forward_cached(&batch(&tokens[start..end], model), &mut cache, &mut hooks).unwrap();
        assert_eq!(cache.n_pos(), end, "{name}");
        assert_same(&format!("{name}: logits"), &logits, &part(&all_logits, 1));
        let found = hooks.finish().unwrap();
        for (site, value) in found {
            match site {
                Site::Block(_, LayerSite::AttnScores | LayerSite::Pattern) => {
                    let wanted = part(&all[&site], 2).narrow(3, 0, end as i64);
                    assert_same(&format!("{name}: {site}"), &value, &wanted);
                }
                _ => by_position.entry(site).or_default().push(value),
            }
        }
    }
    for (site, parts) in by_position {
        assert_same(&format!("{name}: {site}"), &Tensor::cat(&parts, 1), &all[&site]);
    }
}

fn open(case: &str) -> (Model, Vec<TokenId>) {
    let model = Model::open(&fixture(case).join("model"), Kind::Double, Device::Cpu).unwrap();
    let tokens = Expected::of(case).indices("input_ids").into_iter().map(TokenId::from).collect();
    (model, tokens)
}

/// The tokens again and again.
fn repeated(tokens: &[TokenId], n: usize) -> Vec<TokenId> {
    tokens.iter().copied().cycle().take(n).collect()
}

fn assert_windows_are_crossed(model: &Model, n_pos: usize) {
    for layer in &model.spec().layers {
        if let Reach::Window(n) = layer.attn.reach {
            assert!(n_pos >= 2 * n.get(), "{n} of {n_pos} tokens");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn golden_models_read_on_as_they_read_at_once(parts in prop::collection::vec(1..=9usize, 1..=4)) {
        for case in CASES {
            let (model, tokens) = open(case);
            let tokens = repeated(&tokens, 2 * tokens.len());
            assert_windows_are_crossed(&model, tokens.len());
            check(case, &model, &tokens, &parts);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_models_read_on_as_they_read_at_once(
        recipe in recipes(),
        n_pos in 8..=16usize,
        parts in prop::collection::vec(1..=6usize, 1..=3),
    ) {
        let made = recipe.make();
        assert_windows_are_crossed(&made.model, n_pos);
        check(&format!("{:?}", recipe.family), &made.model, &repeated(&made.tokens, n_pos), &parts);
    }
}

#[test]
fn the_first_pass_is_the_pass_without_a_cache_bit_by_bit() {
    for case in CASES {
        let (model, tokens) = open(case);
        let tokens = TokenBatch::new(&tokens, &model).unwrap();
        let cached = model.forward_cached(&tokens, &mut KvCache::new(&model), &mut ()).unwrap();
        assert!(cached.equal(&model.forward(&tokens, &mut ()).unwrap()), "{case}");
    }
}

#[test]
fn what_was_changed_stays_changed_for_later_tokens_and_copies_go_their_own_ways() {
    let (model, tokens) = open("gemma2-plt-jumprelu");
    let one = |tokens: &[TokenId]| TokenBatch::new(tokens, &model).unwrap();
    let (prompt, last) = tokens.split_at(tokens.len() - 1);
    let at = Site::Block(0.into(), LayerSite::V);
    // No value of the prompt in layer 0; the last token has its own again.
    let n = prompt.len() as i64;
    let without = |v: Tensor| {
        let n = n.min(v.size()[1]);
        let _ = v.narrow(1, 0, n).zero_();
        Ok(v)
    };
    let wanted = model.forward(&one(&tokens), &mut Hooks::new().edit(at, without)).unwrap();

    let mut edited = KvCache::new(&model);
    let _ = model.forward_cached(&one(prompt), &mut edited, &mut Hooks::new().edit(at, without)).unwrap();
    let mut copy = edited.clone();
    let found = model.forward_cached(&one(last), &mut edited, &mut ()).unwrap();
    assert_same("edited", &found.select(1, -1), &wanted.select(1, -1));
    let plain = model.forward(&one(&tokens), &mut ()).unwrap();
    assert!(!found.select(1, -1).allclose(&plain.select(1, -1), 0.0, 1e-3, false));

    assert_eq!((edited.n_pos(), copy.n_pos()), (tokens.len(), prompt.len()));
    let again = model.forward_cached(&one(last), &mut copy, &mut ()).unwrap();
    assert!(again.equal(&found));
}

#[test]
fn what_is_recorded_can_be_changed_without_changing_the_cache() {
    let (model, tokens) = open("llama-plt-relu");
    let batch = |tokens: &[TokenId]| TokenBatch::new(tokens, &model).unwrap();
    let (prompt, last) = tokens.split_at(tokens.len() - 1);
    let sites = [LayerSite::RotK, LayerSite::V].map(|site| Site::Block(1.into(), site));
    let mut hooks = Hooks::new().record(sites);
    let mut cache = KvCache::new(&model);
    let _ = model.forward_cached(&batch(prompt), &mut cache, &mut hooks).unwrap();
    for mut value in hooks.finish().unwrap().into_values() {
        let _ = value.zero_();
    }
    let found = model.forward_cached(&batch(last), &mut cache, &mut ()).unwrap();
    let wanted = model.forward(&batch(&tokens), &mut ()).unwrap();
    assert_same("last", &found.select(1, -1), &wanted.select(1, -1));
}

#[test]
fn what_does_not_fit_a_cache_is_an_error_and_changes_nothing() {
    let (model, tokens) = open("gpt2-plt-relu");
    let n_ctx = model.spec().n_ctx;
    let long = repeated(&tokens, n_ctx);
    let one = |tokens: &[TokenId]| TokenBatch::new(tokens, &model).unwrap();
    let mut cache = KvCache::new(&model);
    let wanted = model.forward(&one(&long), &mut ()).unwrap();

    // A pass that fails in its last layer, the first one too: then any number of batch rows is still good.
    let last = Site::Block((model.spec().n_layers() - 1).into(), LayerSite::MlpOut);
    let wrong = || Hooks::new().edit(last, |value| Ok(value.narrow(2, 0, 1)));
    let failing = |cache: &mut KvCache, tokens: TokenBatch| {
        let before = cache.n_pos();
        let error = model.forward_cached(&tokens, cache, &mut wrong()).unwrap_err();
        assert!(matches!(error, ModelError::SiteShape { .. }), "{error}");
        // LibTorch's own failure.
        let mut panics =
            Hooks::new().edit(last, |value| Ok(value.matmul(&Tensor::zeros([3], (Kind::Int, Device::Cpu)))));
        let error = model.forward_cached(&tokens, cache, &mut panics).unwrap_err();
        assert!(matches!(error, ModelError::Torch(_)), "{error}");
        assert_eq!(cache.n_pos(), before);
    };
    failing(&mut cache, one(&long[..5]).repeat(2));
    let _ = model.forward_cached(&one(&long[..7]), &mut cache, &mut ()).unwrap();
    failing(&mut cache, one(&long[7..9]));

    let error = model.forward_cached(&one(&long[7..9]).repeat(3), &mut cache, &mut ()).unwrap_err();
    assert!(matches!(error, ModelError::CacheBatch { found: 3, expected: 1 }), "{error}");
    let error = model.forward_cached(&one(&long[..n_ctx - 6]), &mut cache, &mut ()).unwrap_err();
    assert!(
        matches!(error, ModelError::PromptTooLong { found, limit } if found == n_ctx + 1 && limit == n_ctx)
    );
    let error = model
        .forward_cached(
            &one(&long[7..9]),
            &mut cache,
            &mut Hooks::new().record(["blocks.99.hook_mlp_out".parse().unwrap()]),
        )
        .unwrap_err();
    assert!(matches!(error, ModelError::NoSuchSite { .. }), "{error}");
    // The same files opened again are another model.
    let (other, _) = open("gpt2-plt-relu");
    let error = other.forward_cached(&one(&long[7..9]), &mut cache, &mut ()).unwrap_err();
    assert!(matches!(error, ModelError::CacheOfAnotherModel), "{error}");
    assert_eq!(cache.n_pos(), 7);

    // After all this it reads on to the last position there is, and not further.
    let found = model.forward_cached(&one(&long[7..]), &mut cache, &mut ()).unwrap();
    assert_same("the rest", &found, &wanted.narrow(1, 7, n_ctx as i64 - 7));
    let error = model.forward_cached(&one(&long[..1]), &mut cache, &mut ()).unwrap_err();
    assert!(matches!(error, ModelError::PromptTooLong { .. }), "{error}");
}
