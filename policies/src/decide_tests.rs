use super::*;
use crate::testing::*;

#[test]
fn the_example_is_granted() {
    let world = World::new();
    DECIDER.prepare(Arc::clone(&world.contract)).unwrap();
    let permit = world.decide().unwrap();
    assert_eq!(permit.fields(), fields(&["scheme", "status"]));
    assert_eq!((permit.row_limit(), permit.deadline_ms()), (5, 2000));
    assert_eq!(permit.rows().len(), 2);
    assert_eq!(permit.officer_proof(), OfficerProof::Asserted);
    assert_eq!(permit.contract().text.id, world.contract.text.id);
}
