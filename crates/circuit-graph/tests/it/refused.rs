//! What is refused, and the words in which.

use crate::support::graph;
use circuit_graph::{GraphError, Thresholds};
use circuit_index::FeatureId;

#[test]
fn thresholds_are_shares() {
    for (node, edge) in [(-0.1, 0.5), (1.1, 0.5), (0.5, f64::NAN), (0.5, f64::INFINITY)] {
        assert!(matches!(Thresholds::new(node, edge), Err(GraphError::Threshold { .. })), "{node} {edge}");
    }
    let message = Thresholds::new(0.8, 98.0).unwrap_err().to_string();
    assert_eq!(message, "edge threshold is 98, expected a share between 0 and 1");
    let both = Thresholds::new(0.0, 1.0).unwrap();
    assert_eq!((both.node(), both.edge()), (0.0, 1.0));
}

#[test]
fn a_feature_sees_no_layer_from_its_own_up() {
    let features = vec![FeatureId::new(0, 0, 3), FeatureId::new(1, 0, 5)];
    // Sources: two features, errors of layers 0 and 1, one token. Rows: the two features, one target.
    let fine = [[0.0, 0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0, 1.0], [1.0; 5]].concat();
    let check = |values: Vec<f32>| graph(2, 1, features.clone(), &[1.0], values).validate();
    assert_eq!(check(fine.clone()), Ok(()));
    for (row, column) in [(0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 3)] {
        let mut values = fine.clone();
        values[row * 5 + column] = 1.0;
        let message = check(values).unwrap_err().to_string();
        assert!(
            message.contains(&format!("({row}, {column})")) && message.contains(&features[row].to_string()),
            "{message}"
        );
    }
}
