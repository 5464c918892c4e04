# A real repository, this project's own: cloned, read, packed anew, added to.
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@x GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@x
export GIT_AUTHOR_DATE='1500000000 +0000' GIT_COMMITTER_DATE='1500000000 +0000'
export GIT_CONFIG_NOSYSTEM=1 GIT_PAGER=cat
git config --global safe.directory '*'
git config --global pack.threads 2
git config --global core.fsync none
cp -r ../origin origin
git clone -q "file://$WORK/origin" one; git clone -q --no-hardlinks origin local; diff -r --exclude=.git one local && echo equal
cd one
git log --format='%H %ai %s' | md5sum; git log --graph --oneline --decorate=no | md5sum; git log --stat --no-renames | md5sum
git log -p --no-color | md5sum; git log -S'malloc' --oneline | wc -l; git shortlog -sn HEAD | wc -l
git blame Makefile | md5sum; git grep -n -E 'static (inline )?void' | md5sum; git log --follow --oneline README.md | md5sum
git diff --shortstat HEAD~20 HEAD; git diff -M -C --find-copies-harder HEAD~20 HEAD | md5sum
git rev-list --objects --all | md5sum; git log --format=%H | git cat-file --batch | md5sum
for i in $(seq 20); do echo "$i" >> README.md; git commit -q -am "commit $i"; done; git log -1 --format=%H
git gc -q --prune=now; git count-objects -v | grep -E '^(count|packs|in-pack)'; git fsck --full --strict 2>&1 | sort | tail -3
git gc -q --aggressive --prune=now; git verify-pack .git/objects/pack/*.idx; echo $?
git push -q origin HEAD:refs/heads/pushed; git -C ../origin log -1 --format=%H pushed
git worktree add -q ../tree HEAD~5; git -C ../tree status --short; git archive HEAD | md5sum; git rebase -q HEAD~10 --onto HEAD~12 2>&1 | sort | tail -3; git status --short | head -3
cd ..; git clone -q --depth 5 "file://$WORK/origin" shallow; git -C shallow log --oneline | wc -l; git -C shallow fetch -q --unshallow; git -C shallow log --format=%H | md5sum
