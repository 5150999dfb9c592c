use super::*;
use crate::graph::CoreIndex;

/// Task manager m has the slots 10m.., two a core.
fn slots(task_manager: u32, count: u32) -> Vec<Slot> {
    let slot = |index: u32| Slot {
        id: SlotId(10 * task_manager + index),
        core: CoreIndex((index / 2) as usize),
        memory_bytes: 1 << 20,
    };
    (0..count).map(slot).collect()
}

fn engine(count: u32) -> ResourceManager {
    let mut manager = ResourceManager::new();
    assert_eq!(manager.register(TaskManagerId(0), &slots(0, count)), Ok(vec![]));
    manager
}

fn wants(parallelism: usize) -> SlotDemand {
    SlotDemand::of([("default", parallelism)])
}

fn allocated(manager: &mut ResourceManager, job: u64, parallelism: usize) -> Allocation {
    match manager.request(JobId(job), wants(parallelism), WhenBusy::Refuse).unwrap() {
        SlotResponse::Allocated(allocation) => allocation,
        other => panic!("{other:?}"),
    }
}

fn wait(manager: &mut ResourceManager, job: u64, parallelism: usize) -> usize {
    match manager.request(JobId(job), wants(parallelism), WhenBusy::Wait).unwrap() {
        SlotResponse::Waiting { ahead } => ahead,
        other => panic!("{other:?}"),
    }
}

fn jobs(grants: &[Grant]) -> Vec<u64> {
    grants.iter().map(|grant| grant.job.0).collect()
}

#[test]
fn two_jobs_share_an_engine_on_different_slots() {
    let mut manager = engine(4);
    let (first, second) = (allocated(&mut manager, 1, 2), allocated(&mut manager, 2, 2));
    let ids = |allocation: &Allocation| -> Vec<u32> {
        allocation.slots().map(|slot| slot.id.0).collect()
    };
    assert_eq!(
        (ids(&first), ids(&second)),
        (vec![0, 2], vec![1, 3]),
        "each spread over both cores"
    );
    assert_eq!((manager.free_count(), manager.total_count()), (0, 4));
}

#[test]
fn more_than_the_engine_has_is_refused_whatever_was_chosen() {
    for when_busy in [WhenBusy::Wait, WhenBusy::Refuse] {
        let refused = engine(4).request(JobId(1), wants(8), when_busy).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "parallelism 8 needs 8 slots, the engine has 4; lower the parallelism or give the engine more slots"
        );
    }
    let demand = SlotDemand::of([("a", 3), ("b", 2)]);
    let refused = engine(4).request(JobId(1), demand, WhenBusy::Wait).unwrap_err().to_string();
    assert!(
        refused.starts_with("parallelism 3 in 2 slot sharing groups needs 5 slots"),
        "{refused}"
    );
}

#[test]
fn busy_engine_refuses_or_lets_wait() {
    let mut manager = engine(4);
    allocated(&mut manager, 1, 3);
    let refused = manager.request(JobId(2), wants(2), WhenBusy::Refuse).unwrap_err();
    assert_eq!(refused, AllocationError::NotEnough { needed: 2, free: 1, total: 4 });
    assert_eq!(wait(&mut manager, 2, 2), 0);
    let grants = manager.release(JobId(1));
    assert_eq!(jobs(&grants), [2]);
    assert_eq!(grants[0].allocation.slots().count(), 2);
    assert_eq!(manager.waiting().len(), 0);
}

#[test]
fn nobody_overtakes() {
    let mut manager = engine(4);
    allocated(&mut manager, 1, 3);
    assert_eq!((wait(&mut manager, 2, 4), wait(&mut manager, 3, 1)), (0, 1));
    let refused = manager.request(JobId(4), wants(1), WhenBusy::Refuse).unwrap_err();
    assert_eq!(refused, AllocationError::OthersWait { waiting: 2 });
    assert_eq!(jobs(&manager.release(JobId(1))), [2]);
    assert_eq!(jobs(&manager.release(JobId(2))), [3]);
}

#[test]
fn leaving_the_queue_lets_the_next_run() {
    let mut manager = engine(4);
    allocated(&mut manager, 1, 3);
    wait(&mut manager, 2, 4);
    wait(&mut manager, 3, 1);
    assert_eq!(jobs(&manager.release(JobId(2))), [3]);
    assert_eq!(jobs(&manager.release(JobId(9))), [0; 0], "an unknown job releases nothing");
    assert_eq!(manager.free_count(), 0);
}

#[test]
fn a_job_asks_once() {
    let mut manager = engine(4);
    allocated(&mut manager, 1, 4);
    wait(&mut manager, 2, 1);
    for job in [JobId(1), JobId(2)] {
        let refused = manager.request(job, wants(1), WhenBusy::Wait).unwrap_err();
        assert_eq!(refused, AllocationError::AlreadyRequested { job });
    }
    manager.release(JobId(1));
    allocated(&mut manager, 1, 2);
}

#[test]
fn slots_that_come_serve_the_queue() {
    let mut manager = engine(2);
    allocated(&mut manager, 1, 1);
    wait(&mut manager, 2, 2);
    let grants = manager.register(TaskManagerId(1), &slots(1, 1)).unwrap();
    assert_eq!(jobs(&grants), [2]);
    let duplicate =
        RegisterError::DuplicateSlot { slot: SlotId(10), task_manager: TaskManagerId(2) };
    assert_eq!(manager.register(TaskManagerId(2), &slots(1, 2)), Err(duplicate));
    assert_eq!(manager.total_count(), 3, "nothing of a refused registration stays");
    let twice = [slots(3, 1)[0], slots(3, 1)[0]];
    assert!(manager.register(TaskManagerId(3), &twice).is_err());
}

#[test]
fn slots_that_go_take_their_jobs_along() {
    let mut manager = engine(2);
    manager.register(TaskManagerId(1), &slots(1, 2)).unwrap();
    allocated(&mut manager, 1, 3);
    wait(&mut manager, 2, 4);
    wait(&mut manager, 3, 2);
    let departure = manager.unregister(TaskManagerId(1));
    assert_eq!(departure.lost, [JobId(1)]);
    assert_eq!(departure.refused.len(), 1);
    assert_eq!(departure.refused[0].0, JobId(2));
    assert_eq!(jobs(&departure.granted), [3]);
    assert_eq!((manager.total_count(), manager.free_count()), (2, 0));
    assert!(manager.slots().all(|(_, owner)| owner == Some(JobId(3))));
}

/// SplitMix64.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Against the simplest model there is: who has how many, and who waits for how many.
#[test]
fn random_requests_and_releases_follow_the_model() {
    for seed in 0..200 {
        println!("seed {seed}");
        let mut state = seed;
        let mut manager = engine(6);
        let mut owners: BTreeMap<u64, usize> = BTreeMap::new();
        let mut queue: VecDeque<(u64, usize)> = VecDeque::new();
        for job in 0..60 {
            let parallelism = 1 + (next_random(&mut state) % 6) as usize;
            if manager.request(JobId(job), wants(parallelism), WhenBusy::Wait).is_ok() {
                queue.push_back((job, parallelism));
            }
            let victim = next_random(&mut state) % (job + 1);
            serve_model(&mut owners, &mut queue);
            check_model(&manager, &owners, &queue);
            let granted = jobs(&manager.release(JobId(victim)));
            owners.remove(&victim);
            queue.retain(|(job, _)| *job != victim);
            assert_eq!(serve_model(&mut owners, &mut queue), granted);
            check_model(&manager, &owners, &queue);
        }
    }
}

fn serve_model(owners: &mut BTreeMap<u64, usize>, queue: &mut VecDeque<(u64, usize)>) -> Vec<u64> {
    let mut served = Vec::new();
    while let Some((job, count)) = queue.front().copied()
        && owners.values().sum::<usize>() + count <= 6
    {
        queue.pop_front();
        owners.insert(job, count);
        served.push(job);
    }
    served
}

fn check_model(
    manager: &ResourceManager,
    owners: &BTreeMap<u64, usize>,
    queue: &VecDeque<(u64, usize)>,
) {
    let mut held: BTreeMap<u64, usize> = BTreeMap::new();
    for (_, owner) in manager.slots() {
        if let Some(JobId(job)) = owner {
            *held.entry(job).or_default() += 1;
        }
    }
    assert_eq!(&held, owners);
    assert!(manager.waiting().map(|job| job.0).eq(queue.iter().map(|(job, _)| *job)));
}
