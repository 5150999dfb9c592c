use super::*;

/// Appends pieces with flushes between and replays the jobs, in order, onto an empty file.
fn check(layout: TailLayout, around_cache: bool, pieces: &[usize]) {
    let mut staging = Staging::new(layout, 0, Vec::new());
    let (mut expected, mut file) = (Vec::new(), Vec::new());
    let mut last_sequence = None;
    for (round, length) in pieces.iter().enumerate() {
        let piece: Vec<u8> = (0..*length).map(|index| (index * 7 + round) as u8 | 1).collect();
        let mut rest = &piece[..];
        while !rest.is_empty() {
            if staging.needs_buffer() {
                staging.install(AlignedBuffer::new(8192).unwrap());
            }
            let taken = staging.extend(rest);
            rest = &rest[taken..];
            if staging.is_full() {
                replay(&mut staging, around_cache, &mut file, &mut last_sequence);
            }
        }
        expected.extend_from_slice(&piece);
        assert_eq!(staging.length_bytes(), expected.len() as u64);
        replay(&mut staging, around_cache, &mut file, &mut last_sequence);
        assert_eq!(&file[..expected.len()], expected, "{layout:?} {around_cache} round {round}");
        let padding = &file[expected.len()..];
        match layout {
            TailLayout::Exact => assert!(padding.is_empty()),
            TailLayout::Padded => assert!(padding.len() < BLOCK_BYTES),
        }
        assert!(padding.iter().all(|byte| *byte == 0));
        assert!(staging.flush(around_cache).jobs.is_empty(), "nothing is written twice");
    }
}

fn replay(
    staging: &mut Staging,
    around_cache: bool,
    file: &mut Vec<u8>,
    last_sequence: &mut Option<u64>,
) {
    let flushed = staging.flush(around_cache);
    assert!(flushed.jobs.len() <= 2);
    for job in flushed.jobs {
        assert!(Some(job.sequence) > *last_sequence);
        *last_sequence = Some(job.sequence);
        let offset = usize::try_from(job.offset).unwrap();
        if job.is_aligned {
            assert!(
                offset.is_multiple_of(BLOCK_BYTES) && job.part.len().is_multiple_of(BLOCK_BYTES)
            );
        }
        file.resize(file.len().max(offset + job.part.len()), 0);
        file[offset..offset + job.part.len()]
            .copy_from_slice(&job.bytes.as_slice()[job.part.clone()]);
    }
}

#[test]
fn jobs_rebuild_the_file() {
    let pieces: [&[usize]; 6] = [
        &[1, 1, 4094, 1, 8191, 2],
        &[4096, 4096, 8192, 1, 4095],
        &[8192],
        &[100_000, 3, 5000],
        &[10, 20, 4066, 30],
        &[0, 5, 0],
    ];
    for pieces in pieces {
        for layout in [TailLayout::Exact, TailLayout::Padded] {
            for around_cache in [true, false] {
                check(layout, around_cache, pieces);
            }
        }
    }
}

#[test]
fn an_exact_tail_goes_through_the_page_cache_only_if_the_rest_does_not() {
    let jobs = |layout, around_cache| {
        let mut staging = Staging::new(layout, 4096, vec![9; 96]);
        staging.install(AlignedBuffer::new(8192).unwrap());
        staging.extend(&[7; 5000]);
        let jobs = staging.flush(around_cache).jobs;
        jobs.into_iter()
            .map(|job| (job.offset, job.part.len(), job.is_aligned, job.ends_in_tail))
            .collect::<Vec<_>>()
    };
    let expected = [(4096, 4096, true, false), (8192, 1000, false, true)];
    assert_eq!(jobs(TailLayout::Exact, true), expected);
    assert_eq!(jobs(TailLayout::Exact, false), [(4096, 5096, false, true)]);
    assert_eq!(jobs(TailLayout::Padded, true), [(4096, 8192, true, true)]);
    assert_eq!(jobs(TailLayout::Padded, false), [(4096, 8192, true, true)]);
}

#[test]
fn a_short_write_goes_on_at_its_block() {
    let job = |is_aligned| WriteJob {
        sequence: 0,
        bytes: WriteBytes::Pooled(AlignedBuffer::new(16_384).unwrap()),
        part: 0..16_384,
        offset: 4096,
        is_aligned,
        ends_in_tail: false,
        attempt_count: 0,
    };
    let mut direct = job(true);
    assert!(direct.advance(5120));
    assert_eq!((direct.part.clone(), direct.offset), (4096..16_384, 8192));
    assert!(direct.advance(512));
    assert_eq!((direct.part.start, direct.attempt_count), (4096, 1));
    assert!(!direct.advance(12_288));
    let mut cached = job(false);
    assert!(cached.advance(5120));
    assert_eq!((cached.part.clone(), cached.offset), (5120..16_384, 9216));
}
