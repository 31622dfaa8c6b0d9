#!/usr/bin/env bash
# Everything there is to do on a machine with a GPU, in one call: builds for the GPU present, runs the
# suites and the conformance set, the sanitizers, the benchmarks and the peers. See bench/README.md.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build-gpu
out=$build/results
deps=$root/.deps
budget=570
stages=(build conformance test bench peers sanitize)

usage() {
  cat <<'HELP'
usage: bench/gpu.sh [options] [STAGE...]

  --out DIR      results, logs and recorded conformance values (build-gpu/results/)
  --deps DIR     carried dependencies for a machine without network (.deps/): googletest/ as source,
                 include/ with nlohmann/, CLI/, and benchmark/ as source
  --build DIR    build folder (build-gpu/)
  --budget S     seconds in all (570); a stage that does not fit any more is left out and says so

Stages, in order: build conformance test bench peers sanitize. A stage that is done (DIR/STAGE.done) is
passed over, so a call that was cut off goes on where it stopped; naming stages runs them again.
HELP
}

chosen=()
while (($#)); do
  [[ $1 != --* || $1 == --help || $# -gt 1 ]] || { echo "gpu.sh: $1 needs a value" >&2 && exit 2; }
  case $1 in
    --out) out=$2 && shift 2 ;;
    --deps) deps=$2 && shift 2 ;;
    --build) build=$2 && shift 2 ;;
    --budget) budget=$2 && shift 2 ;;
    -h | --help) usage && exit 0 ;;
    -*) usage >&2 && exit 2 ;;
    *)
      [[ " ${stages[*]} " == *" $1 "* ]] || { echo "gpu.sh: no stage $1; there are: ${stages[*]}" >&2 && exit 2; }
      chosen+=("$1") && shift ;;
  esac
done
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
export TESSERA_LOG=${TESSERA_LOG:-warning}

left() { echo $((budget - SECONDS)); }

# ---------------------------------------------------------------- stages

stage_build() {
  command -v nvcc >/dev/null || export PATH=$PATH:/usr/local/cuda/bin
  local options=(-DTESSERA_CUDA=on -DTESSERA_BENCH=ON -DTESSERA_SIMT=OFF -DTESSERA_CPU_LEVELS=x86-64-v3
                 -DCMAKE_BUILD_TYPE=Release)
  [[ ! -d $deps/googletest ]] || options+=(-DTESSERA_GTEST_SOURCE_DIR="$deps/googletest")
  [[ ! -d $deps/benchmark ]] || options+=(-DTESSERA_BENCHMARK_SOURCE_DIR="$deps/benchmark")
  [[ ! -d $deps/include ]] || options+=(-DCMAKE_PREFIX_PATH="$deps" -DCMAKE_CXX_FLAGS="-isystem $deps/include")
  cmake -S "$root" -B "$build" -G Ninja "${options[@]}" &&
    ninja -C "$build" tessera tessera_cuda test_kernels test_autograd test_models test_conformance_cuda bench_gpu \
      bench_toolkit
}

# Golden files of the instructions; compared with the interpreter on every machine ever after.
stage_conformance() {
  TESSERA_RECORD=1 "$build/tests/conformance/cuda/test_conformance_cuda" &&
    mkdir -p "$out/recorded" && cp -r "$root/tests/conformance/recorded/." "$out/recorded/"
}

stage_test() {
  local status=0 layer
  for layer in kernels autograd models; do
    timeout "$(left)" "$build/tests/test_$layer" --gtest_filter='*cuda*' --gtest_brief=1 \
      --gtest_output="json:$out/test_$layer.json" || status=$?
  done
  timeout "$(left)" "$build/bin/tessera" run node_classification --device cuda:0 --set runs=3 --out "$out/gcn" || status=$?
  return $status
}

stage_bench() {
  local status=0
  "$build/bench/bench_gpu" --min-time 0.3 --out "$out/tessera.json" --peers "$out/peers" || status=$?
  "$build/bench/bench_toolkit" --min-time 0.2 --out "$out/toolkit.json" || status=$?
  return $status
}

stage_peers() {
  command -v python3 >/dev/null && python3 -c 'import torch' || { echo "no PyTorch here" && return 1; }
  mkdir -p "$out/peers"
  python3 "$root/bench/peers/torch_gpu.py" --min-time 0.3 --out "$out/peers/torch.json" &&
    python3 "$root/bench/compare.py" "$out/tessera.json" "$out/peers/torch.json"
}

# Small cases of every family, under each tool.
stage_sanitize() {
  local tool status=0
  for tool in memcheck racecheck synccheck; do
    (($(left) > 20)) || { echo "no time left for $tool" && return 1; }
    timeout $(($(left) / 2)) compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$build/tests/conformance/cuda/test_conformance_cuda" --gtest_brief=1 || status=$?
    timeout "$(left)" compute-sanitizer --tool "$tool" --error-exitcode 9 "$build/tests/test_kernels" --gtest_brief=1 \
      --gtest_filter='*Batches/cuda_0_f16:*Softmax*/cuda_0_f32:*Segments*/cuda_0_f32:*Copy.B*/cuda_0_f32' || status=$?
  done
  return $status
}

# ---------------------------------------------------------------- running them

summarise() {
  python3 - "$out" <<'PYTHON'
import json, pathlib, sys

out = pathlib.Path(sys.argv[1])
documents = [json.loads(path.read_text()) for path in (out / "tessera.json", out / "toolkit.json", out / "peers" / "torch.json") if path.exists()]
stages = {path.stem: path.read_text().strip() for path in sorted(out.glob("*.status"))}
(out / "results.json").write_text(json.dumps({"stages": stages, "documents": documents}, indent=1) + "\n")
PYTHON
}

nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv,noheader 2>&1 | tee "$out/gpu.txt"
failed=0
for stage in "${chosen[@]:-${stages[@]}}"; do
  if [[ -e $out/$stage.done && ${#chosen[@]} -eq 0 ]]; then
    echo "== $stage: done before"
    continue
  fi
  if (($(left) < 15)); then
    echo "== $stage: left out, the time is up"
    echo "left out" >"$out/$stage.status"
    failed=1
    continue
  fi
  began=$SECONDS
  rm -f "$out/$stage.done"
  ("stage_$stage") >"$out/$stage.log" 2>&1 &
  running=$!
  (sleep "$(left)" && kill "$running") >/dev/null 2>&1 &
  guard=$!
  wait "$running"
  status=$?
  kill "$guard" 2>/dev/null
  ((status == 0)) && touch "$out/$stage.done" || failed=1
  echo "status $status, $((SECONDS - began)) s" | tee "$out/$stage.status" | sed "s/^/== $stage: /"
  tail -n 25 "$out/$stage.log" | sed 's/^/   /'
  summarise || true
done
exit $failed
