//! Sets whose features are chosen over all layers together, in the layout of ByteDance's Cross-Layer-TopK-CLT as its page describes
//! it: encoders without biases, decoders with the norms of their rows, `config.json`.

use crate::cli::{run, text};
use crate::hub::{World, ids, path};
use crate::sets::{model, open, replacement};
use crate::tensors::write;
use circuit_index::FeatureId;
use circuit_intervention::{InterventionError, Interventions};
use circuit_model::Model;
use circuit_replacement::{Cuts, LocalReplacement};
use circuit_tests::fixture;
use circuit_transcoder::Conversion;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tch::{Device, Kind, Tensor};

pub(crate) const CASE: &str = "qwen3-plt-relu";
const FEATURES: i64 = 40;
/// For each layer; what counts is their sum.
const K: i64 = 3;

/// Writes a set of random weights for a model; gives encoders and norms.
pub(crate) fn made(folder: &Path, model: &Model) -> Vec<(Tensor, Tensor)> {
    let (n_layers, d) = (model.spec().n_layers() as i64, model.spec().d_model as i64);
    let like = (Kind::Float, Device::Cpu);
    tch::manual_seed(11);
    let mut layers = Vec::new();
    for l in 0..n_layers {
        let (encoder, norms) = (Tensor::randn([FEATURES, d], like), Tensor::rand([FEATURES], like) + 0.1);
        let decoder = Tensor::randn([FEATURES, n_layers - l, d], like) * 0.05;
        let at = |name: &str| folder.join(format!("{name}_{l}.safetensors"));
        let named = |name: &str, t: &Tensor| (format!("{name}_{l}"), t.shallow_clone());
        write(&at("W_enc"), &BTreeMap::from([named("W_enc", &encoder)]));
        write(&at("W_dec"), &BTreeMap::from([named("W_dec", &decoder), named("W_dec_norm", &norms)]));
        layers.push((encoder, norms));
    }
    let norms: Vec<_> = layers.iter().map(|(_, norms)| norms).collect();
    let all = BTreeMap::from([("W_dec_norm".to_owned(), Tensor::stack(&norms, 0))]);
    write(&folder.join("W_dec_norm.safetensors"), &all);
    let config = format!("{{\"d_feature\": {FEATURES}, \"k\": {K}, \"base_model\": \"some/model\"}}");
    fs::write(folder.join("config.json"), config).unwrap();
    layers
}

/// What is active by the definition: all activations at once, weighed, and of these the largest.
fn expected(found: &LocalReplacement<'_>, layers: &[(Tensor, Tensor)]) -> Vec<(FeatureId, f32)> {
    let traced = found.trace().layers.iter().zip(layers);
    let acts: Vec<_> =
        traced.map(|(layer, (encoder, _))| layer.feature_input.matmul(&encoder.tr()).relu()).collect();
    let weighed: Vec<_> = acts.iter().zip(layers).map(|(acts, (_, norms))| acts * norms).collect();
    let (acts, weighed) = (Tensor::cat(&acts, 1), Tensor::cat(&weighed, 1));
    let (_, places) = weighed.topk(K * layers.len() as i64, -1, true, true);
    let mut all = Vec::new();
    for pos in 1..acts.size()[0] {
        for place in Vec::<i64>::try_from(places.get(pos)).unwrap() {
            let value = acts.double_value(&[pos, place]) as f32;
            if value > 0.0 {
                let id =
                    FeatureId::new((place / FEATURES) as usize, pos as usize, (place % FEATURES) as usize);
                all.push((id, value));
            }
        }
    }
    all.sort_by_key(|(id, _)| *id);
    all
}

#[test]
fn features_are_the_largest_of_all_layers_together() {
    let (dir, model) = (tempfile::tempdir().unwrap(), model(CASE));
    let layers = made(dir.path(), &model);
    let set = open(dir.path(), &model).unwrap();
    assert!(set.is_joint());
    let found = replacement(CASE, &model, &set);
    let expected = expected(&found, &layers);
    let ids: Vec<_> = expected.iter().map(|(id, _)| *id).collect();
    assert_eq!(found.active(), ids);
    // Not so many of each layer, and as many as there may be in all.
    let of = |l: usize| ids.iter().filter(|id| id.layer.get() == l).count();
    let (n_layers, open) = (layers.len(), found.n_pos() - 1);
    assert_eq!(ids.len(), K as usize * n_layers * open);
    assert!((0..n_layers).any(|l| of(l) != of(0)));
    let values = Vec::<f32>::try_from(found.activations()).unwrap();
    assert!(values.iter().zip(&expected).all(|(a, (_, b))| (a - b).abs() < 1e-4));
    // However it is cut.
    let encode = circuit_transcoder::Cuts { pre_activations: 50, weights: 7 * model.spec().d_model };
    let cuts = Cuts { encode, ..Cuts::default() };
    let cut = LocalReplacement::new_in(&model, &set, found.tokens(), 1, cuts, |_| Some(cuts)).unwrap();
    assert_eq!(cut.active(), found.active());
    // What goes layer by layer is refused.
    assert!(matches!(Interventions::new(&model, &set, 1), Err(InterventionError::Joint)));
    let refused = Conversion::open(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("config.json") && refused.contains("norms"), "{refused}");
}

#[test]
fn such_a_set_is_traced_from_a_folder_and_from_the_hub() {
    let world = World::new();
    let (dir, ids) = (tempfile::tempdir().unwrap(), ids(CASE));
    let folder = fixture(CASE).join("model");
    let _ = made(dir.path(), &model(CASE));
    write(&dir.path().join("factors.safetensors"), &BTreeMap::new());
    world.hub.folder("acme/joint", "", dir.path());
    world.hub.folder("acme/model", "", &folder);
    let raw = dir.path().join("graph.safetensors");
    let attribute = |set: &str, more: &[&str]| {
        let args =
            ["attribute", "-m", path(&folder), "-t", set, "--prompt-ids", &ids, "--json", "--device", "cpu"];
        let told = world.done(&[&args[..], more].concat());
        let mut value: serde_json::Value = serde_json::from_str(&told).unwrap();
        value.as_object_mut().unwrap().remove("memory");
        value.as_object_mut().unwrap().remove("written");
        value
    };
    let plan = attribute("acme/joint", &["--dry-run"]);
    assert_eq!(plan["active_features_are"], "as many as the set selects at most");
    let local = attribute(path(dir.path()), &["-o", path(&raw)]);
    assert_eq!(plan["active_features"]["expected"], local["active_features"], "{plan} {local}");
    let hub = attribute("acme/joint", &[]);
    assert_eq!(hub["active_features"], local["active_features"]);
    // Norms of all layers, and factors that are folded in already, are not needed.
    let asked = world.hub.log();
    assert!(!asked.iter().any(|r| r.path.contains("factors") || r.path.ends_with("W_dec_norm.safetensors")));
    // Its edges are what they say.
    let verified = run(&["verify", path(&raw), "-m", path(&folder), "-t", path(dir.path()), "--all"]);
    assert!(verified.status.success(), "{}{}", text(&verified.stdout), text(&verified.stderr));
    let described = world.done(&["describe", "acme/joint"]);
    assert!(described.contains("encoder and decoder files with decoder norms"), "{described}");
    // A model is none, and the other way round.
    assert!(world.done(&["describe", "acme/model"]).contains("Qwen3"));
    world.refused(
        &["attribute", "-m", path(&folder), "-t", "acme/model", "-p", "x"],
        3,
        &["no transcoder set"],
    );
    world.refused(&["attribute", "-t", path(dir.path()), "-p", "x"], 2, &["no model is given"]);
    let edit =
        ["intervene", "-m", path(&folder), "-t", path(dir.path()), "--prompt-ids", &ids, "--ablate", "0_1@1"];
    world.refused(&edit, 2, &["chosen over all layers together"]);

    let config = dir.path().join("config.json");
    for (text, says) in [
        ("{\"d_feature\": 40, \"k\": 0}", "`k` is 0"),
        ("{\"d_feature\": 40}", "k"),
        ("{\"d_feature\": 40, \"k\": 41}", "k = 41"),
    ] {
        fs::write(&config, text).unwrap();
        world.refused(
            &["attribute", "-m", path(&folder), "-t", path(dir.path()), "--prompt-ids", &ids],
            3,
            &["config.json", says],
        );
    }
}
