//! Raw graphs come back as they were, in both forms, and other libraries see the layout that is promised.

use crate::support::{graphs, toy};
use circuit_format::{PtLimit, pt_size, read_pt, read_safetensors, write_pt, write_safetensors};
use circuit_graph::FirstToken;
use circuit_index::TokenId;
use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors};
use std::fs;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_graph_comes_back(graph in graphs()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("graph.safetensors");
        write_safetensors(&path, &graph).unwrap();
        prop_assert_eq!(&read_safetensors(&path).unwrap(), &graph);

        let path = folder.path().join("graph.pt");
        write_pt(&path, &graph, PtLimit(1 << 20)).unwrap();
        prop_assert_eq!(fs::metadata(&path).unwrap().len(), pt_size(&graph));
        let read = read_pt(&path, PtLimit(1 << 20)).unwrap();
        prop_assert_eq!(&read.graph, &graph);
        prop_assert!(read.token_strings_known);
    }
}

#[test]
fn what_stands_in_front_of_prompts_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("graph.safetensors");
    let token = FirstToken::Token { id: TokenId(2), text: "<bos>".into() };
    for first in [None, Some(FirstToken::Nothing), Some(token)] {
        let mut graph = toy();
        graph.model.first_token = first;
        write_safetensors(&path, &graph).unwrap();
        assert_eq!(read_safetensors(&path).unwrap(), graph);
        // Python's form has no place for it.
        let pt = folder.path().join("graph.pt");
        write_pt(&pt, &graph, PtLimit(1 << 20)).unwrap();
        assert_eq!(read_pt(&pt, PtLimit(1 << 20)).unwrap().graph.model.first_token, None);
    }
}

#[test]
fn the_safetensors_library_sees_the_promised_layout() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("graph.safetensors");
    write_safetensors(&path, &toy()).unwrap();
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut seen: Vec<_> = tensors.iter().map(|(name, t)| (name, t.dtype(), t.shape().to_vec())).collect();
    seen.sort_by_key(|t| t.0);
    assert_eq!(
        seen,
        [
            ("activation_values", Dtype::F32, vec![3]),
            ("active_features", Dtype::I64, vec![3, 3]),
            ("input_tokens", Dtype::I64, vec![3]),
            ("rows", Dtype::F32, vec![4, 11]),
            ("selected_features", Dtype::I64, vec![2]),
            ("target_probabilities", Dtype::F32, vec![2]),
            ("target_token_ids", Dtype::I64, vec![2]),
        ]
    );
    let features: Vec<u8> =
        [[0i64, 1, 3], [0, 2, 9], [1, 1, 7]].concat().iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(tensors.tensor("active_features").unwrap().data(), features);
    for (name, tensor) in tensors.iter() {
        let at = tensor.data().as_ptr() as usize - bytes.as_ptr() as usize;
        assert_eq!(at % if tensor.dtype() == Dtype::I64 { 8 } else { 4 }, 0, "{name} is aligned");
    }
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let texts = metadata.metadata().clone().unwrap();
    assert_eq!((&*texts["format_version"], &*texts["prompt"]), ("1", "<bos>The \"sky\""));
}

#[test]
fn two_files_of_one_graph_are_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
    write_pt(&a, &toy(), PtLimit(1 << 20)).unwrap();
    write_pt(&b, &toy(), PtLimit(1 << 20)).unwrap();
    assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
    write_safetensors(&a, &toy()).unwrap();
    write_safetensors(&b, &toy()).unwrap();
    assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
}

#[test]
fn a_square_beyond_the_limit_is_refused_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("graph.pt");
    let size = pt_size(&toy());
    let error = write_pt(&path, &toy(), PtLimit(size - 1)).unwrap_err().to_string();
    assert!(
        error.contains("13 x 13 nodes") && error.contains("KiB") && error.contains("safetensors"),
        "{error}"
    );
    assert!(!path.exists());
    write_pt(&path, &toy(), PtLimit(size)).unwrap();
    let error = read_pt(&path, PtLimit(13 * 13 * 4 - 1)).unwrap_err().to_string();
    assert!(error.contains("676 bytes") && error.contains("limit of 675 bytes"), "{error}");
}

#[test]
fn a_graph_that_does_not_fit_itself_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("graph");
    let mut graph = toy();
    graph.activations[0] = f32::NAN;
    for error in [
        write_safetensors(&path, &graph).unwrap_err(),
        write_pt(&path, &graph, PtLimit(1 << 20)).unwrap_err(),
    ] {
        assert!(error.to_string().contains("activation_values"), "{error}");
    }
    assert!(!path.exists());
}
