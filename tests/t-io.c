/* SPDX-License-Identifier: MIT
 * base/io: regular files only, complete reads, and output that exists under its final name only when it is complete. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "tests/tap.h"

/* Replaces the C library's flock, to let another run end between our open and our lock. */
static void (*before_flock)(void);
int flock(int fd, int operation)
{
    void (*act)(void) = before_flock;
    before_flock = NULL;
    if (act)
        act();
    return (int)syscall(SYS_flock, fd, operation);
}

static int holds(const char *path, const char *text)
{
    size_t n = 0;
    char *got = read_file(path, &n);
    int same = got && n == strlen(text) && !memcmp(got, text, n);
    free(got);
    return same;
}

static int is_there(const char *path)
{
    struct stat st;
    return !lstat(path, &st);
}

static void opening(void)
{
    struct io_file f;
    struct error e = {0};
    const char *path = tmp_path("ten"), *fifo = tmp_path("fifo"), *link = tmp_path("link");
    write_file(path, "0123456789", 10);
    ok(!io_open(&f, path, &e) && f.size == 10 && f.handle, "a regular file opens and has 10 bytes");
    uint64_t ino = f.ino;
    io_close(&f);
    ok(!f.handle, "a closed file has no handle");
    io_close(&f);
    ok(!symlink("ten", link) && !io_open(&f, link, &e) && f.ino == ino, "a link to it opens as the same file");
    io_close(&f);
    ok(io_open(&f, tmp_folder(), &e) && e.code == ERR_FORMAT && strstr(e.text, "not a regular file") && !f.handle,
       "a folder is no regular file");
    ok(!mkfifo(fifo, 0666) && io_open(&f, fifo, &e) && e.code == ERR_FORMAT,
       "a FIFO is refused without waiting for a writer");
    ok(io_open(&f, "/dev/zero", &e) && e.code == ERR_FORMAT && !strcmp(e.file, "/dev/zero"),
       "/dev/zero is refused by name");
    ok(io_open(&f, tmp_path("none"), &e) && e.code == ERR_IO && !f.handle && strstr(e.text, strerror(ENOENT)),
       "a missing file is an I/O error with the system's words");
    ok(io_open(&f, "", NULL), "an empty path fails, a NULL error is allowed");
    ok(io_kind(path) == 1 && io_kind(tmp_folder()) == 2 && io_kind(fifo) == 3 && io_kind(tmp_path("none")) == 0,
       "kinds: 1 file, 2 folder, 3 other, 0 nothing");
}

static void reading(void)
{
    struct io_file f;
    struct error e = {0};
    char b[16] = "";
    const char *path = tmp_path("ten");
    if (io_open(&f, path, &e))
        bail("cannot open %s", path);
    ok(!io_read(&f, 3, b, 4, &e) && !memcmp(b, "3456", 4), "4 bytes at 3 are 3456");
    ok(!io_read(&f, 10, b, 0, &e), "0 bytes at the end are no error");
    ok(io_read(&f, 8, b, 4, &e) && e.code == ERR_FORMAT && strstr(e.text, "2 bytes early") && e.offset == 10,
       "4 bytes at 8 of 10: the file ends 2 bytes early, at 10");
    ok(io_read(&f, 100, b, 1, &e) && e.code == ERR_FORMAT && e.offset == 100, "a read behind the end fails");
    ok(!truncate(path, 5) && io_read(&f, 4, b, 4, &e) && e.code == ERR_FORMAT,
       "a file cut after it was opened: an error");
    io_close(&f);

    char *text = NULL;
    size_t n = 0;
    ok(!io_read_all(path, 5, &text, &n, &e) && n == 5 && !strcmp(text, "01234"), "a whole file of 5 bytes, terminated");
    free(text);
    ok(io_read_all(path, 4, &text, &n, &e) && e.code == ERR_FORMAT && strstr(e.text, "5 bytes are more than the 4"),
       "a file of 5 bytes is more than 4");
    write_file(path, "", 0);
    ok(!io_read_all(path, 0, &text, &n, &e) && n == 0 && text[0] == '\0', "an empty file reads as an empty text");
    free(text);
    ok(io_read_all(tmp_folder(), 100, &text, &n, &e) && e.code == ERR_FORMAT, "a folder cannot be read");
}

static void names(void)
{
    static const struct {
        const char *name;
        int plain;
    } rows[] = {
        {"model-00001-of-000163.safetensors", 1}, {"a", 1}, {"...", 1}, {"..a", 1}, {".hidden", 1}, {"with space", 1},
        {"caf\xc3\xa9", 1}, {"~", 1}, {"-o", 1}, {"C:", 1}, {"", 0}, {".", 0}, {"..", 0}, {"/", 0}, {"/etc/passwd", 0},
        {"a/b", 0}, {"a/", 0}, {"../a", 0}, {"a/../b", 0}, {"a\\b", 0}, {"..\\a", 0}, {"a\nb", 0}, {"\033[2J", 0},
        {"a\x7f", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ok(io_name_is_plain(rows[i].name) == rows[i].plain, "name %zu is %s", i, rows[i].plain ? "plain" : "not plain");
    ok(!strcmp(io_base_name("/a/b"), "b") && !strcmp(io_base_name("b"), "b") && !strcmp(io_base_name("a/"), ""),
       "the base names of /a/b, b and a/ are b, b and empty");
    char *one = io_join("a", "b"), *two = io_join("a/", "b"), *three = io_join("/", "b");
    ok(one && two && three && !strcmp(one, "a/b") && !strcmp(two, "a/b") && !strcmp(three, "/b"),
       "a joined with b is a/b");
    free(one);
    free(two);
    free(three);
}

static void output(void)
{
    struct io_out o, other;
    struct error e = {0};
    struct stat st;
    const char *path = tmp_path("out"), *partial = tmp_path("out.partial");

    ok(!io_out_create(&o, path, 5, &e) && !is_there(path), "created: nothing under the final name");
    ok(!stat(partial, &st) && st.st_size == 5, "created: out.partial has its 5 bytes");
    ok(!io_out_write(&o, 2, "234", 3, &e) && !io_out_write(&o, 0, "01", 2, &e) && !is_there(path),
       "written in any order: still nothing under the final name");
    ok(!io_out_finish(&o, &e) && holds(path, "01234") && !is_there(partial),
       "finished: the file is there, out.partial gone");
    ok(!stat(path, &st) && (st.st_mode & 0777) == (0666 & ~022), "its mode follows the umask");
    io_out_abandon(&o);
    ok(holds(path, "01234"), "abandon after finish does nothing");

    ok(!io_out_create(&o, path, 3, &e) && holds(path, "01234"), "an old file stays while a new one is written");
    ok(io_out_create(&other, path, 3, &e) && e.code == ERR_IO && strstr(e.text, "another run") && is_there(partial),
       "a second writer is refused, and leaves the first one's file alone");
    ok(!io_out_write(&o, 0, "abc", 3, &e), "the first writer goes on");
    io_out_abandon(&o);
    ok(holds(path, "01234") && !is_there(partial), "abandoned: the old file is untouched, out.partial gone");
    ok(!io_out_create(&o, path, 3, &e) && !io_out_write(&o, 0, "abc", 3, &e) && !io_out_finish(&o, &e) &&
           holds(path, "abc"),
       "finished: the new file has replaced the old one");

    write_file(partial, "left by a killed run", 20);
    ok(!io_out_create(&o, path, 2, &e) && !io_out_write(&o, 0, "xy", 2, &e) && !io_out_finish(&o, &e) &&
           holds(path, "xy"),
       "a stale out.partial is replaced, and nothing of it is left");
    ok(!io_out_create(&o, path, 0, &e) && !io_out_finish(&o, &e) && holds(path, ""), "an output of 0 bytes");
    ok(!io_write_all(path, "all\n", 4, &e) && holds(path, "all\n") && !is_there(partial), "a small file in one go");
    uint64_t room = 0;
    ok(!io_free_space(path, &room, &e) && room > 0, "there is free space");
}

static void output_refused(void)
{
    struct io_out o = {.fd = -1};
    struct error e = {0};
    const char *path = tmp_path("out2"), *partial = tmp_path("out2.partial");
    io_out_abandon(&o);
    ok(o.fd == -1, "abandoning what was never created does nothing");
    ok(io_out_create(&o, tmp_path("no/such/folder"), 1, &e) && e.code == ERR_IO && o.fd == -1,
       "no folder: an I/O error");
    if (!io_out_create(&o, path, (uint64_t)1 << 60, &e)) {
        skip("this file system reserves no space", "2^60 bytes cannot be reserved, and nothing is left behind");
        io_out_abandon(&o);
    } else {
        ok(e.code == ERR_IO && strstr(e.text, "cannot reserve") && !is_there(partial),
           "2^60 bytes cannot be reserved, and nothing is left behind");
    }
    ok(io_out_create(&o, path, UINT64_MAX, &e) && e.code == ERR_IO && !is_there(partial), "2^64-1 bytes neither");
    write_file(tmp_path("victim"), "victim", 6);
    ok(!symlink("victim", partial) && io_out_create(&o, path, 1, &e) && e.code == ERR_IO &&
           holds(tmp_path("victim"), "victim"),
       "a symbolic link at out.partial is not followed");
    unlink(partial);
    ok(!mkdir(partial, 0777) && io_out_create(&o, path, 1, &e) && e.code == ERR_IO && is_there(partial),
       "a folder at out.partial is refused and stays");
    rmdir(partial);
    ok(!io_out_create(&o, path, 1, &e) && !mkdir(path, 0777) && io_out_finish(&o, &e) && e.code == ERR_IO &&
           is_there(partial),
       "a folder that came under the final name: finish fails and keeps out.partial");
    io_out_abandon(&o);
    ok(!is_there(partial), "abandoned then, it is gone");
    ok(io_out_create(&o, path, 1, &e) && e.code == ERR_USAGE && strstr(e.text, "folder") && !is_there(partial), "one that is there is refused at once");
    rmdir(path);
    ok(!mkfifo(path, 0666) && io_out_create(&o, path, 1, &e) && e.code == ERR_USAGE && strstr(e.text, "no regular file") && !is_there(partial),
       "so is a FIFO, which a rename would replace");
    ok(!symlink("out2", tmp_path("to-fifo")) && io_out_create(&o, tmp_path("to-fifo"), 1, &e) && e.code == ERR_USAGE, "also behind a symbolic link");
    unlink(tmp_path("to-fifo"));
    unlink(path);
    ok(io_out_create(&o, "", 1, &e) && e.code == ERR_USAGE, "and an empty name");
    ok(io_free_space(tmp_path("no/such/folder"), &(uint64_t){0}, &e) && e.code == ERR_IO, "no folder, no free space");
}

static struct io_out first;

static void first_finishes(void)
{
    struct error e;
    if (io_out_write(&first, 0, "first", 5, &e) || io_out_finish(&first, &e))
        bail("%s", e.text);
}

static void first_gives_up(void)
{
    io_out_abandon(&first);
}

static void races(void)
{
    struct io_out second;
    struct error e = {0};
    const char *path = tmp_path("race"), *partial = tmp_path("race.partial");
    /* the second run has opened race.partial when the first one, which holds its lock, renames it to race */
    if (io_out_create(&first, path, 5, &e))
        bail("%s", e.text);
    before_flock = first_finishes;
    ok(!io_out_create(&second, path, 6, &e) && holds(path, "first"),
       "a run that ends as another begins keeps its output");
    ok(!io_out_write(&second, 0, "second", 6, &e) && !io_out_finish(&second, &e) && holds(path, "second"),
       "and the other one writes a file of its own");
    if (io_out_create(&first, path, 5, &e))
        bail("%s", e.text);
    before_flock = first_gives_up;
    ok(!io_out_create(&second, path, 5, &e) && is_there(partial) && !io_out_write(&second, 0, "third", 5, &e) &&
           !io_out_finish(&second, &e) && holds(path, "third"),
       "a run that gives up as another begins does not take its file away");
}

int main(void)
{
    umask(022);
    opening();
    reading();
    names();
    output();
    output_refused();
    races();
    return done();
}
