"""What a call uses of the stack, seen from outside: no more than the header says, and little."""

import pytest

from cnncc import driver
from cnncc.export import export
from cnncc.llvm.host import missing
from tests.export.programs import compiler, run

pytestmark = pytest.mark.native
SPEC = """\
cnncc 1
model rows
weights random { seed = 4 }
input x: 24x384x24
conv(3x3, filters=24, pad=1) as c1 -> lrn(5)
conv(3x3, filters=64, pad=1) as c2 -> relu -> maxpool(3x3, stride=2)
output y
"""
PAINTED = r"""
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "rows.h"
#define AROUND 65536
static unsigned char stack[ROWS_STACK_BYTES + 2 * AROUND] __attribute__((aligned(4096)));
static unsigned char room[ROWS_WORKSPACE_BYTES] __attribute__((aligned(ROWS_ALIGN)));
static float x[ROWS_INPUT_x_ELEMS], y[ROWS_OUTPUT_y_ELEMS];
static unsigned char *here;
static void *call(void *arg)
{
    unsigned char local;
    (void)arg;
    here = &local;
    return rows_run(x, y, 1, room, sizeof room) == ROWS_OK ? &here : NULL;
}
int main(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    void *fine = NULL;
    size_t lowest = 0;
    memset(stack, 0xA5, sizeof stack);
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack, sizeof stack);
    if (pthread_create(&thread, &attributes, call, NULL) != 0) return 2;
    pthread_join(thread, &fine);
    while (stack[lowest] == 0xA5) lowest++;
    printf("%d %ld %ld\n", fine != NULL, (long)(here - (stack + lowest)), (long)ROWS_STACK_BYTES);
    return 0;
}
"""


@pytest.mark.parametrize("target", ["host", "x86-64-v3", "x86-64"])
def test_a_call_uses_no_more_stack_than_the_header_says(tmp_path, target):
    gcc = compiler("gcc")
    (tmp_path / "rows.cnn").write_text(SPEC)
    plan = driver.compile_model(tmp_path / "rows.cnn", target=target).plan
    if missing(plan.target):
        pytest.skip(f"this machine cannot run {target}")
    kinds = ("lib", "header")
    face, blob = plan.interface, plan.weights
    export(tmp_path, "rows", plan.program, plan.target, face, blob, kinds=kinds)
    (tmp_path / "main.c").write_text(PAINTED)
    run([gcc, "-std=gnu99", "-Wall", "main.c", "librows.a", "-pthread", "-o", "main"], tmp_path)
    fine, used, bound = map(int, run(["./main"], tmp_path).split())
    assert fine
    assert used <= bound
    assert used > 100, "the call was seen"
    assert bound < 10 << 10, "rows and squares lie in the workspace"
    assert face.scratch_bytes > 24 << 10
