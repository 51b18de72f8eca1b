/* SPDX-License-Identifier: MIT
 * Checkpoint folders: index and shards are held against each other, and no name of the index leaves the folder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/source.h"
#include "tests/samples.h"
#include "tests/tap.h"

#define ENTRY(name, begin, end) "'" name "':{'dtype':'U8','shape':[4],'data_offsets':[" begin "," end "]}"
#define INDEX "model.safetensors.index.json"

static int n_folders;

/* A new folder with this index (NULL: none; ' stands for "). Returns its name. */
static const char *new_folder(const char *index)
{
    static char name[32];
    char path[64];
    snprintf(name, sizeof name, "ckpt-%d", ++n_folders);
    tmp_subfolder(name);
    if (index) {
        struct buffer b = {0};
        assemble_safetensors(&b, index, 0); /* for its quotes; the 8 bytes of length are left out */
        snprintf(path, sizeof path, "%s/" INDEX, name);
        write_file(tmp_path(path), b.data + 8, b.size - 8);
        buffer_clear(&b);
    }
    return name;
}

static const char *in_folder(const char *folder, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return tmp_path(path);
}

static void add_shard(const char *folder, const char *name, const char *header, size_t n)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    write_safetensors(path, header, n);
}

/* One shard "s" with the tensors a and b, four bytes each, and this index. */
static const char *with_index(const char *index)
{
    const char *folder = new_folder(index);
    add_shard(folder, "s", "{" ENTRY("a", "0", "4") "," ENTRY("b", "4", "8") "}", 8);
    return tmp_path(folder);
}

#define MAP(a, b) "{'weight_map':{'a':'" a "','b':'" b "'}}"

static const struct {
    const char *title, *index;
    const char *text;
} rows[] = {
    {"an index that is no JSON", "{'weight_map':", "invalid JSON"},
    {"an index that is a list", "[]", "weight_map is missing"},
    {"no weight_map", "{'metadata':{}}", "weight_map is missing"},
    {"weight_map is a list", "{'weight_map':['s']}", "weight_map is missing or no object"},
    {"a file that is a number", "{'weight_map':{'a':1,'b':'s'}}", "names no plain file"},
    {"a file that is null", "{'weight_map':{'a':null,'b':'s'}}", "names no plain file"},
    {"the file ../s", MAP("s", "../s"), "names no plain file"},
    {"an absolute file", MAP("s", "/etc/passwd"), "names no plain file"},
    {"the file sub/s", MAP("s", "sub/s"), "names no plain file"},
    {"the file ./s", MAP("s", "./s"), "names no plain file"},
    {"the file a/../s", MAP("s", "a/../s"), "names no plain file"},
    {"an empty file name", MAP("s", ""), "names no plain file"},
    {"the file .", MAP("s", "."), "names no plain file"},
    {"the file ..", MAP("s", ".."), "names no plain file"},
    {"a backslash in the file name", MAP("s", "..\\\\s"), "names no plain file"},
    {"an escaped NUL in the file name", MAP("s", "s\\u0000x"), "NUL"},
    {"a raw NUL in the file name", MAP("s", "s%00x"), "control byte"},
    {"a newline in the file name", MAP("s", "s\\n"), "names no plain file"},
    {"a shard that is missing", MAP("s", "t"), "shard that is missing"},
    {"a shard in another case", MAP("s", "S"), "shard that is missing"},
    {"a shard that is a folder", MAP("s", "folder"), "not a regular file"},
    {"a shard that is a FIFO", MAP("s", "fifo"), "not a regular file"},
    {"a shard that is a device", MAP("s", "zero"), "not a regular file"},
    {"a shard that is the index itself", MAP("s", INDEX), "exceeds"},
    {"a shard that is another kind of file", MAP("s", "empty"), "too few"},
    {"a tensor that the shard lacks", "{'weight_map':{'a':'s','b':'s','c':'s'}}", "in this shard that is not there"},
    {"a tensor that the index lacks", "{'weight_map':{'a':'s'}}", "does not list a tensor"},
    {"no tensor of the shard but another", "{'weight_map':{'x':'s'}}", "does not list a tensor"},
    {"a tensor put in the wrong shard", "{'weight_map':{'a':'s','b':'c','c':'c'}}",
     "the index puts this tensor in 'c'"},
    {"one file under two names", "{'weight_map':{'a':'s','b':'link'}}", "the index"},
    {"the same tensor in two shards", "{'weight_map':{'a':'s','b':'s','c':'twin'}}",
     "the index does not list a tensor"},
    {"a tensor twice in the index", "{'weight_map':{'a':'s','b':'s','b':'s'}}", "duplicate JSON key 'b'"},
    {"a shard one byte short", "{'weight_map':{'a':'s','b':'s','c':'short'}}", "truncated"},
};

static void hostile_indexes(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *path = with_index(rows[i].index), *name = path + strlen(tmp_folder()) + 1;
        char folder[32];
        snprintf(folder, sizeof folder, "%s", name);
        if (mkdir(in_folder(folder, "folder"), 0777) || mkfifo(in_folder(folder, "fifo"), 0666) ||
            symlink("/dev/zero", in_folder(folder, "zero")) || symlink("s", in_folder(folder, "link")))
            bail("cannot fill %s", path);
        write_file(in_folder(folder, "empty"), "", 0);
        add_shard(folder, "c", "{" ENTRY("c", "0", "4") "}", 4);
        add_shard(folder, "twin", "{" ENTRY("b", "0", "4") "," ENTRY("c", "4", "8") "}", 8);
        add_shard(folder, "short", "{" ENTRY("c", "0", "4") "}", 3);
        refuses(path, ERR_FORMAT, rows[i].text, rows[i].title);
    }
}

static void good_folders(void)
{
    struct error e = {0};
    const char *folder = new_folder("{'metadata':{'total_size':12},'weight_map':{'c':'t','b':'s','a':'s'}}");
    const char *path = tmp_path(folder);
    add_shard(folder, "s", "{" ENTRY("a", "0", "4") "," ENTRY("b", "4", "8") "}", 8);
    add_shard(folder, "t", "{" ENTRY("c", "0", "4") "}", 4);
    write_file(in_folder(folder, "config.json"), "{}", 2);
    struct source *s = source_open(path, &e);
    ok(s && s->n_files == 2 && s->n_tensors == 3 && s->tensor_bytes == 12 && s->is_folder && !s->note,
       "an index with 2 shards: 3 tensors, 12 bytes, nothing to note");
    ok(s && source_find(s, "a")->file == source_find(s, "b")->file &&
           source_find(s, "c")->file != source_find(s, "a")->file,
       "a and b are in one file, c in the other");
    char *text = NULL;
    size_t n = 0;
    ok(s && source_side_file(s, "config.json", 100, &text, &n, &e) == 1 && n == 2 && !strcmp(text, "{}"),
       "the side file config.json has 2 bytes");
    free(text);
    ok(s && source_side_file(s, "tokenizer.json", 100, &text, &n, &e) == 0, "a side file that is not there: 0");
    ok(s && source_side_file(s, "config.json", 1, &text, &n, &e) == -1 && e.code == ERR_FORMAT,
       "a side file above its limit: an error");
    source_close(s);

    s = source_open(with_index("{'metadata':{'total_size':9},'weight_map':{'a':'s','b':'s'}}"), &e);
    ok(s && s->note && strstr(s->note, "total_size"), "a wrong total_size is a note, no error");
    source_close(s);
    s = source_open(with_index("{'metadata':{'total_size':'8'},'weight_map':{'a':'s','b':'s'}}"), &e);
    ok(s && s->note, "a total_size that is text is a note, no error");
    source_close(s);
    s = source_open(with_index("{'metadata':{},'weight_map':{'a':'s','b':'s'}}"), &e);
    ok(s && !s->note, "no total_size: nothing to note");
    source_close(s);
    s = source_open(with_index("{'weight_map':{'a':'s','b':'s'},'x':[1]}"), &e);
    ok(s && s->n_tensors == 2, "no metadata, and other fields: opens");
    source_close(s);
}

static void single_files(void)
{
    struct error e = {0};
    const char *folder = new_folder(NULL), *path = tmp_path(folder);
    ok(!source_open(path, &e) && e.code == ERR_FORMAT && strstr(e.text, "no checkpoint"),
       "an empty folder is no checkpoint");
    add_shard(folder, "model.safetensors", "{" ENTRY("a", "0", "4") "}", 4);
    struct source *s = source_open(path, &e);
    ok(s && s->n_files == 1 && s->n_tensors == 1 && s->is_folder, "model.safetensors without an index opens");
    source_close(s);
    char slash[256];
    snprintf(slash, sizeof slash, "%s/", path);
    s = source_open(slash, &e);
    ok(s && s->n_tensors == 1, "a slash behind the folder's name does no harm");
    source_close(s);
    s = source_open(in_folder(folder, "model.safetensors"), &e);
    ok(s && s->n_tensors == 1 && !s->is_folder, "the file itself opens, without side files");
    source_close(s);
    write_file(in_folder(folder, INDEX), "{\"weight_map\":{}}", 17);
    s = source_open(path, &e);
    ok(s && s->n_tensors == 0, "with both, the index counts: an empty one has no tensors");
    source_close(s);

    folder = new_folder(NULL);
    path = tmp_path(folder);
    if (mkdir(in_folder(folder, "model.safetensors"), 0777))
        bail("cannot make a folder");
    refuses(path, ERR_FORMAT, "not a regular file", "model.safetensors is a folder");
    folder = new_folder(NULL);
    path = tmp_path(folder);
    if (mkfifo(in_folder(folder, INDEX), 0666))
        bail("cannot make a FIFO");
    refuses(path, ERR_FORMAT, "not a regular file", "the index is a FIFO");
    refuses(tmp_path("nothing-here"), ERR_IO, "cannot open", "a path that does not exist");
    refuses("/dev/zero", ERR_FORMAT, "not a regular file", "/dev/zero");
}

int main(void)
{
    hostile_indexes();
    good_folders();
    single_files();
    return done();
}
