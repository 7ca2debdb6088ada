//! The `postbackd` binary.
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir_in("/work")?;
    let o = postbackd::bench::BenchOptions {
        events: std::env::args().nth(1).unwrap().parse()?,
        directory: dir.path().into(),
    };
    let b = postbackd::bench::run(&o, &|g| eprintln!("{g}")).await?;
    for r in &b {
        eprintln!("{r:?}");
    }
    Ok(())
}
