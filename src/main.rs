//! The `postbackd` binary.
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let o = postbackd::demo::DemoOptions {
        events: std::env::args().nth(1).unwrap().parse()?,
        seed: 1,
        directory: dir.path().into(),
        patience: std::time::Duration::from_secs(60),
    };
    let b = postbackd::demo::run(&o, &|g| eprintln!("{:?} {:?} {}", g.elapsed, g.handed, g.attempts)).await?;
    for r in &b.rows {
        eprintln!("{r:?}");
    }
    eprintln!("{:#?} {} {:?}", b.faults, b.reversals_in_order, b.elapsed);
    Ok(())
}
