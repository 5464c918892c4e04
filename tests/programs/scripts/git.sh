# A repository's life, with fixed names and times so that every hash is the same each time.
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@x GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@x
export GIT_CONFIG_NOSYSTEM=1 GIT_PAGER=cat
t=1500000000
tick() { t=$((t + 60)); export GIT_AUTHOR_DATE="$t +0000" GIT_COMMITTER_DATE="$t +0000"; }
git config --global init.defaultBranch main
git config --global protocol.file.allow always
git config --global gc.auto 0
git config --global pack.threads 2
git config --global core.fsync none
tick; git init -q one; cd one
cp -r "$TREE/include/linux" linux; git add .; git commit -q -m "headers"
for i in $(seq 25); do
    tick; echo "line $i" >> file$((i % 5)); sed -i "1s/^/$i /" linux/fs.h; git add .; git commit -q -m "commit $i" -m "body $i"
done
git checkout -q -b side HEAD~10; for i in 1 2 3; do tick; echo side $i > side$i; git add .; git commit -q -m "side $i"; done
git checkout -q main; tick; git merge -q --no-ff -m "merge side" side; git log --graph --format='%h %s %ad' --date=iso | head -40
git log --stat -3; git diff HEAD~5 --shortstat; git blame file1 | cut -c1-60; git log -p -S'line 7' --format=%h | head -20
git tag -a v1 -m one; git describe; git grep -c struct | tail -5; git log --format=%H | git cat-file --batch-check | md5sum
tick; git checkout -q -b topic HEAD~3; echo t > topic; git add topic; git commit -q -m topic; tick; git rebase -q main; git log --oneline | head -3
git checkout -q main; echo x >> file2; git stash -q; git stash list | cut -d: -f1; git stash pop -q; git status --short; git checkout -q -- .
tick; git revert --no-edit HEAD~2 -m 1 > /dev/null 2>&1 || git revert --no-edit HEAD~1 | head -1; git cherry-pick topic > /dev/null; git log -1 --format=%s
git checkout -q -b conflict main~4; echo other > file3; tick; git commit -qam conflict; git merge main > /dev/null; echo "merge $?"; git status --short | head; git merge --abort
git checkout -q main; git bisect start -q HEAD HEAD~8 > /dev/null; git bisect run sh -c 'test $(wc -l < file1) -lt 5' 2>&1 | grep -c 'is the first bad commit'; git bisect reset -q
git repack -q -a -d -f --threads=1 --depth=20 --window=10; git gc -q --prune=now; git count-objects -v | grep -E '^(count|packs|in-pack)'; git fsck --full --strict 2>&1 | sort | tail -3
git archive HEAD linux | md5sum; git format-patch -q -3 -o patches; md5sum patches/*; rm -r patches
cd ..; git clone -q "file://$PWD/one" two; git clone -q --bare one three.git; git -C two log --oneline | md5sum; diff -r --exclude=.git one two && echo equal
cd two; tick; echo pushed > p; git add p; git commit -q -m pushed; git push -q "file://$WORK/three.git" HEAD:refs/heads/new; git -C ../three.git log -1 --format=%s new
git fetch -q ../one topic; git log -1 --format=%s FETCH_HEAD; git submodule -q add "file://$WORK/one" sub > /dev/null 2>&1; git submodule status | cut -c2-9; git ls-files -s | md5sum
git config --get-regexp 'remote.*url' | sed "s|$WORK|W|"; git rev-list --objects --all | git pack-objects -q --threads=2 --stdout > pack; git index-pack --stdin < pack > /dev/null; echo $?
git fsck 2>&1 | sort | tail -2; git bundle create -q ../b main; git bundle verify -q ../b; echo $?; git shortlog -sn HEAD
